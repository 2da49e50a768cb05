-- KEYS: items, state, waiting, partitions, record
-- ARGV: again, number, partition, items
local told = recorded(KEYS[5])
if told then return told end
local items = cmsgpack.unpack(ARGV[4])
local size = 0
for i = #items, 1, -1 do
  size = size + #items[i]
  redis.call('LPUSH', KEYS[1], items[i])
end
redis.call('HINCRBY', KEYS[2], 'b', size)
redis.call('HINCRBY', KEYS[2], 'h', -#items)
if redis.call('PTTL', KEYS[1]) < 0 then
  redis.call('PEXPIRE', KEYS[1], 86400000)
  redis.call('PEXPIRE', KEYS[2], 86400000)
  redis.call('ZADD', KEYS[4], string.format('%.0f', now_ms() + 86400000), ARGV[3])
end
local noted = redis.call('HMGET', KEYS[3], 'i' .. ARGV[3], 'w' .. ARGV[3])
tell(noted[1], 'i', ARGV[3], #items)
tell(noted[2], 'w', ARGV[3], #items)
return record(KEYS[5], '1')
