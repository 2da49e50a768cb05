-- KEYS: entries, record   ARGV: again, number, "1" to keep what is there, pairs
local told = recorded(KEYS[2])
if told then return told end
local list, added = cmsgpack.unpack(ARGV[4]), 0
if ARGV[3] == '1' then
  live(KEYS[1], list[1])
  if redis.call('HSETNX', KEYS[1], list[1], list[2]) == 0 then return record(KEYS[2], '0') end
  added = 1
else
  for i = 1, #list, 4000 do
    added = added + redis.call('HSET', KEYS[1], unpack(list, i, math.min(i + 3999, #list)))
  end
end
if added > 0 then keep(KEYS[1]) end
return record(KEYS[2], '1')
