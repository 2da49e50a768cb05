-- KEYS: entries   ARGV: now_s, cursor, about how many, "1" for keys alone
-- Returns the next cursor, then fields and entries; without values where only keys are wanted.
-- What has had its time goes on the way.
local found = redis.call('HSCAN', KEYS[1], ARGV[2], 'COUNT', ARGV[3])
local list, out, now = found[2], {found[1]}, tonumber(ARGV[1])
for i = 1, #list, 2 do
  local entry = list[i + 1]
  local used, size = struct.unpack('>I4I4', entry)
  if now - used >= LIFE_S then
    redis.call('HDEL', KEYS[1], list[i])
  else
    out[#out + 1] = list[i]
    out[#out + 1] = ARGV[4] == '1' and string.sub(entry, 1, 8 + size) or entry
  end
end
return packed(out)
