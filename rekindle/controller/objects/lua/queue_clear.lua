-- KEYS: items, state, waiting, partitions, record
-- ARGV: again, number, partition, "1" for all partitions, what keys of items and of states begin with
local told = recorded(KEYS[5])
if told then return told end
local names = {ARGV[3]}
if ARGV[4] == '1' then names = redis.call('ZRANGE', KEYS[4], 0, -1) end
for _, name in ipairs(names) do
  redis.call('UNLINK', ARGV[5] .. name, ARGV[6] .. name)
  redis.call('ZREM', KEYS[4], name)
  tell(redis.call('HGET', KEYS[3], 'r' .. name), 'r', name, MOST_ITEMS)
end
return record(KEYS[5], '1')
