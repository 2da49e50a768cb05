-- Let go of results that the only reader of their call has.
--
-- KEYS: call hash, result hash, set of calls that are kept until their results were taken
-- ARGV: call id, what ("some": these results; "whole": nothing of the call will be asked for again;
--       "ended": nor will inputs of it come, as its app has ended), ttl in seconds of what may still
--       be added to, ttl of dead letters, runs of indexes
-- Returns: {state, runs of inputs that left dead letters}
--       state 1: nothing of the call is needed any more; 0: it goes on, or waits for its last
--       inputs; -1: others may read it; -2: it is not known here
local call, results, once = KEYS[1], KEYS[2], KEYS[3]
local meta = redis.call('HMGET', call, 'k', 'acc', 'd', 'n')
if not meta[1] then
  unlist(once, ARGV[1])
  return {-2, ''}
end
if meta[1] == 'submit' then
  return {-1, ''}
end
if ARGV[2] == 'some' then
  -- Of what is none, as it is damaged, nothing can be let go; it goes with the call.
  local indexes = redis.call('TYPE', results)['ok'] == 'hash' and from_runs(ARGV[5]) or {}
  for i = 1, #indexes, 1000 do
    redis.call('HDEL', results, unpack(indexes, i, math.min(i + 999, #indexes)))
  end
  return {0, ''}
end
if ARGV[2] == 'whole' and meta[2] ~= meta[3] then
  redis.call('UNLINK', results)
  redis.call('HSET', call, 'w', 1)
  return {0, ''}
end
local more = ARGV[2] == 'whole' and meta[4] == '-1'
return {1, let_go(call, results, once, ARGV[1], more, ARGV[3], ARGV[4])}
