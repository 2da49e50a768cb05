-- KEYS: items, state, partitions, record
-- ARGV: again, number, partition, "1" for all partitions, what keys of items and of states begin with
local told = recorded(KEYS[4])
if told then return told end
local names = {ARGV[3]}
if ARGV[4] == '1' then names = redis.call('ZRANGE', KEYS[3], 0, -1) end
for _, name in ipairs(names) do
  redis.call('UNLINK', ARGV[5] .. name, ARGV[6] .. name)
  redis.call('ZREM', KEYS[3], name)
end
return record(KEYS[4], '1')
