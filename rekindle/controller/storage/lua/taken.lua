-- Let go of results that the only reader of their call has.
--
-- KEYS: call hash, result hash, set of calls that are kept until their results were taken
-- ARGV: call id, whole ("1": nothing of the call will be asked for again), ttl in seconds of what
--       may still be added to, runs of indexes
-- Returns: 1: the call is gone; 2: the same, and inputs of it left letters; 0: it goes on, or waits
--       for its last inputs; -1: others may read it
local call, results, once = KEYS[1], KEYS[2], KEYS[3]
local meta = redis.call('HMGET', call, 'k', 'acc', 'd', 'n', 'l')
if not meta[1] then
  redis.call('SREM', once, ARGV[1])
  return 1
end
if meta[1] == 'submit' then
  return -1
end
if ARGV[2] == '1' then
  if meta[2] == meta[3] and meta[4] ~= '-1' then
    redis.call('UNLINK', call, results)
    redis.call('SREM', once, ARGV[1])
    return meta[5] and 2 or 1
  end
  redis.call('UNLINK', results)
  redis.call('HSET', call, 'w', 1)
  if meta[2] == meta[3] then
    redis.call('EXPIRE', call, ARGV[3])
  end
  return 0
end
local indexes = from_runs(ARGV[4])
for i = 1, #indexes, 1000 do
  redis.call('HDEL', results, unpack(indexes, i, math.min(i + 999, #indexes)))
end
return 0
