-- Accept inputs of a call as one entry of the queue, each (call, index) once, and take the entry
-- right away when nothing waits before it: one round trip, after which they are durable.
--
-- KEYS: queue stream, call hash, result hash, backlog counter, counter of undone inputs,
--       changes of that counter, set of calls that are kept until their results were taken
-- ARGV: group, consumer, take ("1"|"0", "2": whatever waits before it), last ("1"|"0"), limit of undone inputs, ttl in seconds,
--       call id, app id, params, strategy, submitted_ns, kind ("invoke"|"map"|"submit"), request, runs
-- Returns: {state, taken, undone, change of it, accepted, done, total, batches, cancelled,
--           entry, runs of the new, runs of those accepted before and not done, done before}
--       state 1: accepted; 0: over the limit, nothing was changed
--       taken 1: the entry is pending for the consumer; 0: it waits on the stream
--
-- Call hash: a app, p params, s strategy, t submitted_ns, k kind, acc accepted, d done,
--       n total (-1: more may come), o batches of results, x cancelled (1, or 2 with its runners),
--       a<page>, d<page> bitmaps, u<entry> undone inputs of an entry of the queue,
--       w: no one will read its results, l: inputs of it were given up and left a letter, those
--       of the bitmaps l<page>,
--       p<index> lost:retries:ambiguous:due_ms of an input that had a bad time (pf: there are such)
-- Queue entry: c call id, b the request, r runs of the indexes that count
local queue, call, results, backlog, undone = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local group, consumer = ARGV[1], ARGV[2]

redis.call('XLEN', queue)
local counts = {redis.call('GET', backlog), redis.call('GET', undone), redis.call('GET', KEYS[6])}
check_numbers(counts)
if ARGV[12] ~= 'submit' then
  redis.call('SCARD', KEYS[7])
end

local accepted, finished, new, pending, over = {}, {}, {}, {}, 0
for _, index in ipairs(from_runs(ARGV[14])) do
  if not has(accepted, call, 'a', index) then
    new[#new + 1] = index
    mark(accepted, call, 'a', index)
  elseif has(finished, call, 'd', index) then
    over = over + 1
  else
    pending[#pending + 1] = index
  end
end

local waiting, changes = tonumber(counts[2] or '0'), tonumber(counts[3] or '0')
if #new > 0 and waiting + #new > tonumber(ARGV[5]) then
  return {0, 0, waiting, changes, 0, 0, -1, 0, 0, '', '', '', 0}
end

if redis.call('EXISTS', call) == 0 then
  redis.call('HSET', call, 'a', ARGV[8], 'p', ARGV[9], 's', ARGV[10], 't', ARGV[11], 'k', ARGV[12],
             'acc', 0, 'd', 0, 'n', -1, 'o', 0)
  if ARGV[12] ~= 'submit' then
    redis.call('SADD', KEYS[7], ARGV[7])
  end
end

local entry, taken = '', 0
if #new > 0 then
  entry = redis.call('XADD', queue, '*', 'c', ARGV[7], 'r', to_runs(new), 'b', ARGV[13])
  save(accepted, call, 'a')
  redis.call('HSET', call, 'u' .. entry, #new)
  redis.call('HINCRBY', call, 'acc', #new)
  waiting = redis.call('INCRBY', undone, #new)
  changes = redis.call('INCR', KEYS[6])
  -- What is not done is kept for as long as it takes.
  redis.call('PERSIST', call)
  redis.call('PERSIST', results)
  if ARGV[3] ~= '0' and tonumber(counts[1] or '0') == 0 then
    redis.call('XGROUP', 'SETID', queue, group, entry)
    redis.call('XCLAIM', queue, group, consumer, 0, entry, 'FORCE', 'JUSTID')
    taken = 1
  else
    redis.call('INCR', backlog)
    if ARGV[3] == '2' then
      -- Out of turn. Whoever reads the stream gets it once more, knows it, and counts it then.
      redis.call('XCLAIM', queue, group, consumer, 0, entry, 'FORCE', 'JUSTID')
      taken = 1
    end
  end
end
local meta = redis.call('HMGET', call, 'acc', 'd', 'n', 'o', 'x')
if ARGV[4] == '1' and meta[3] == '-1' then
  redis.call('HSET', call, 'n', meta[1])
  meta[3] = meta[1]
end
if meta[1] == meta[2] then
  redis.call('EXPIRE', call, ARGV[6])
end
return {1, taken, waiting, changes, tonumber(meta[1]), tonumber(meta[2]), tonumber(meta[3]),
        tonumber(meta[4]), tonumber(meta[5] or '0'), entry, to_runs(new), to_runs(pending), over}
