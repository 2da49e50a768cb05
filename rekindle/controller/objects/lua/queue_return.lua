-- KEYS: items, state, partitions, record   ARGV: again, number, now_ms, partition, items
local told = recorded(KEYS[4])
if told then return told end
local items, size = cmsgpack.unpack(ARGV[5]), 0
for i = #items, 1, -1 do
  size = size + #items[i]
  redis.call('LPUSH', KEYS[1], items[i])
end
redis.call('HINCRBY', KEYS[2], 'b', size)
redis.call('HINCRBY', KEYS[2], 'h', -#items)
if redis.call('PTTL', KEYS[1]) < 0 then
  redis.call('PEXPIRE', KEYS[1], 86400000)
  redis.call('PEXPIRE', KEYS[2], 86400000)
  redis.call('ZADD', KEYS[3], string.format('%.0f', tonumber(ARGV[3]) + 86400000), ARGV[4])
end
return record(KEYS[4], '1')
