-- Store the result of an input unless it has one, and take the input off the queue.
--
-- KEYS: queue stream, call hash, result hash
-- ARGV: group, index, result, ttl in seconds
-- Returns: {outcome, done, total}; outcome 1: stored; 0: it had a result; -1: not known here
local queue, call, results = KEYS[1], KEYS[2], KEYS[3]
local index, ttl = ARGV[2], tonumber(ARGV[4])

local entry = redis.call('HGET', call, 'i' .. index)
local outcome = 1
if not entry then
  outcome = redis.call('HEXISTS', results, index) == 1 and 0 or -1
else
  redis.call('HSET', results, index, ARGV[3])
  redis.call('HDEL', call, 'i' .. index, 'l' .. index, 'r' .. index, 'w' .. index)
  redis.call('HINCRBY', call, 'd', 1)
  redis.call('XACK', queue, ARGV[1], entry)
  redis.call('XDEL', queue, entry)
  redis.call('EXPIRE', call, ttl)
  redis.call('EXPIRE', results, ttl)
end
local meta = redis.call('HMGET', call, 'd', 'n')
return {outcome, tonumber(meta[1] or 0), tonumber(meta[2] or -1)}
