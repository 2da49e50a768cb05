-- Accept inputs of a call, each (call, index) once, and take them from the queue right away when
-- nothing waits before them: one round trip, after which they are durable.
--
-- KEYS: queue stream, call hash, result hash, backlog counter
-- ARGV: group, consumer, take ("1"|"0"), ttl in seconds ("0": none), last ("1"|"0"),
--       call id, app id, params, strategy, submitted_ns, kind ("invoke"|"submit"),
--       then index, method, payload for each input
-- Returns: {taken, accepted, done, total, code, entry, code, entry, ...}
--       code 0: new; 1: accepted before, not done; 2: has its result
--       taken 1: the new entries are pending for the consumer; 0: they wait on the stream
--
-- Call hash: a app, p params, s strategy, t submitted_ns, k kind, acc accepted, d done,
--       n total (-1: more may come), and for each undone input i<index> entry id,
--       l<index> lost deliveries, r<index> retries so far, w<index> due time of its retry in ms
local queue, call, results, backlog = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local group, consumer, ttl = ARGV[1], ARGV[2], tonumber(ARGV[4])

if redis.call('EXISTS', call) == 0 then
  redis.call('HSET', call, 'a', ARGV[7], 'p', ARGV[8], 's', ARGV[9], 't', ARGV[10], 'k', ARGV[11],
             'acc', 0, 'd', 0, 'n', -1)
end

local out, new = {0, 0, 0, 0}, {}
for i = 12, #ARGV, 3 do
  local index = ARGV[i]
  local entry = redis.call('HGET', call, 'i' .. index)
  if entry then
    out[#out + 1] = 1
    out[#out + 1] = entry
  elseif redis.call('HEXISTS', results, index) == 1 then
    out[#out + 1] = 2
    out[#out + 1] = ''
  else
    entry = redis.call('XADD', queue, '*', 'c', ARGV[6], 'x', index, 'm', ARGV[i + 1],
                       'p', ARGV[i + 2])
    redis.call('HSET', call, 'i' .. index, entry)
    new[#new + 1] = entry
    out[#out + 1] = 0
    out[#out + 1] = entry
  end
end

local accepted = redis.call('HINCRBY', call, 'acc', #new)
if ARGV[5] == '1' and redis.call('HGET', call, 'n') == '-1' then
  redis.call('HSET', call, 'n', accepted)
end
if ttl > 0 then
  redis.call('EXPIRE', call, ttl)
end

if #new > 0 then
  if ARGV[3] == '1' and tonumber(redis.call('GET', backlog) or '0') == 0 then
    redis.call('XGROUP', 'SETID', queue, group, new[#new])
    for _, entry in ipairs(new) do
      redis.call('XCLAIM', queue, group, consumer, 0, entry, 'FORCE', 'JUSTID')
    end
    out[1] = 1
  else
    redis.call('INCRBY', backlog, #new)
  end
end
local meta = redis.call('HMGET', call, 'd', 'n')
out[2], out[3], out[4] = accepted, tonumber(meta[1]), tonumber(meta[2])
return out
