-- KEYS: entries, record, operations   ARGV: again, number, "1" to keep what is there, pairs
local told = recorded(KEYS[2])
if told then return told end
local list = cmsgpack.unpack(ARGV[4])
if ARGV[3] == '1' then
  live(KEYS[1], list[1])
  if redis.call('HSETNX', KEYS[1], list[1], list[2]) == 0 then return record(KEYS[2], '0') end
else
  for i = 1, #list, 4000 do
    redis.call('HSET', KEYS[1], unpack(list, i, math.min(i + 3999, #list)))
  end
end
keep(KEYS[1])
count(KEYS[3], 'put', #list / 2)
return record(KEYS[2], '1')
