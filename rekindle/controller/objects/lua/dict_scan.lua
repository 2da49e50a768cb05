-- KEYS: entries   ARGV: cursor, about how many, "1" for keys alone
-- Returns fields and entries by turns, without values where only keys are wanted, and the next
-- cursor. What has had its time goes on the way: an entry begins with when it was used.
local found = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local list, oldest = found[2], struct.pack('>I4', now_s() - LIFE_S + 1)
if #list > 0 then keep(KEYS[1]) end
local over = false
for i = 2, #list, 2 do
  if list[i] < oldest then over = true end
end
if over then
  local left = {}
  for i = 1, #list, 2 do
    if list[i + 1] < oldest then
      redis.call('HDEL', KEYS[1], list[i])
    else
      left[#left + 1] = list[i]
      left[#left + 1] = list[i + 1]
    end
  end
  list = left
end
if ARGV[3] == '1' then
  for i = 2, #list, 2 do list[i] = string.sub(list[i], 1, 8 + struct.unpack('>I4', list[i], 5)) end
end
list[#list + 1] = found[1]
return packed(list)
