-- KEYS: items, state, partitions, record
-- ARGV: again, number, now_ms, ttl_ms, partition, items
-- Returns '1'; 'F' and the milliseconds that the partition has left where they do not fit; 'P'
-- where there are too many partitions; 'B' for items that never fit.
local told = recorded(KEYS[4])
if told then return told end
local items, size = cmsgpack.unpack(ARGV[6]), 0
for i = 1, #items do size = size + #items[i] end
if #items > MOST_ITEMS or size > MOST_BYTES then return 'B' end
local there = redis.call('LLEN', KEYS[1])
local held = there > 0 and tonumber(redis.call('HGET', KEYS[2], 'b') or 0) or 0
if there + #items > MOST_ITEMS or held + size > MOST_BYTES then
  return 'F' .. tostring(redis.call('PTTL', KEYS[1]))
end
if there == 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', ARGV[3])
  if redis.call('ZCARD', KEYS[3]) >= MOST_PARTITIONS then return 'P' end
  -- Numbers of items never repeat, also when a partition has ended and comes again.
  if redis.call('HEXISTS', KEYS[2], 'h') == 0 then
    redis.call('HSET', KEYS[2], 'h', ARGV[3] .. '000')
  end
end
for i = 1, #items, 4000 do
  redis.call('RPUSH', KEYS[1], unpack(items, i, math.min(i + 3999, #items)))
end
redis.call('HSET', KEYS[2], 'b', string.format('%.0f', held + size))
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
redis.call('ZADD', KEYS[3], string.format('%.0f', tonumber(ARGV[3]) + tonumber(ARGV[4])), ARGV[5])
return record(KEYS[4], '1')
