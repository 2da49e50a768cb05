-- KEYS: items, state, waiting, partitions, record, operations
-- ARGV: again, number, ttl_ms, partition, items, how it waits
-- Returns '1'; 'F' and the milliseconds that the partition has left where they do not fit; 'W' where
-- others wait for room already; 'P' where there are too many partitions; 'B' for what never fits.
local told = recorded(KEYS[5])
if told then return told end
local items, size = cmsgpack.unpack(ARGV[5]), 0
for i = 1, #items do size = size + #items[i] end
if #items > MOST_ITEMS or size > MOST_BYTES then return 'B' end
if behind(ARGV[6], KEYS[3], 'r', ARGV[4]) then return 'W' end
local there = redis.call('LLEN', KEYS[1])
local held = there > 0 and tonumber(redis.call('HGET', KEYS[2], 'b') or 0) or 0
if there + #items > MOST_ITEMS or held + size > MOST_BYTES then
  wait(ARGV[6], KEYS[3], 'r', ARGV[4])
  return 'F' .. tostring(redis.call('PTTL', KEYS[1]))
end
local now = now_ms()
if there == 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', now)
  if redis.call('ZCARD', KEYS[4]) >= MOST_PARTITIONS then return 'P' end
  -- Numbers of items never repeat, also when a partition has ended and comes again.
  if redis.call('HEXISTS', KEYS[2], 'h') == 0 then
    redis.call('HSET', KEYS[2], 'h', string.format('%.0f000', now))
  end
end
for i = 1, #items, 4000 do
  redis.call('RPUSH', KEYS[1], unpack(items, i, math.min(i + 3999, #items)))
end
redis.call('HSET', KEYS[2], 'b', string.format('%.0f', held + size))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('ZADD', KEYS[4], string.format('%.0f', now + tonumber(ARGV[3])), ARGV[4])
tell(KEYS[3], 'i', ARGV[4], #items)
tell(KEYS[3], 'w', ARGV[4], #items)
count(KEYS[6], 'put', #items)
return record(KEYS[5], '1')
