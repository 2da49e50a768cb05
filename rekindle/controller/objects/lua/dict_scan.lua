-- KEYS: entries, used   ARGV: now_s, cursor, "1" for keys alone
-- Returns the next cursor, then fields and entries; without values where only keys are wanted.
expire(KEYS[1], KEYS[2], ARGV[1])
local count = 500
while true do
  local found = redis.call('HSCAN', KEYS[1], ARGV[2], 'COUNT', count)
  local list, bytes = found[2], 0
  for i = 2, #list, 2 do
    if ARGV[3] == '1' then list[i] = string.sub(list[i], 1, 4 + struct.unpack('>I4', list[i])) end
    bytes = bytes + #list[i]
  end
  -- A few large values at a time.
  if bytes < 32000000 or count == 1 then
    table.insert(list, 1, found[1])
    return packed(list)
  end
  count = 1
end
