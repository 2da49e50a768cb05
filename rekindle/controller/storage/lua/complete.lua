-- Store results of a call's inputs unless they have one, and take an entry off the queue when its
-- last input is done.
--
-- KEYS: queue stream, call hash, result hash, backlog counter, counter of undone inputs,
--       changes of that counter, stream of dead letters, set of calls that are kept until their
--       results were taken
-- ARGV: group, ttl in seconds, ttl of what may still be added to and no one will read,
--       ordered ("1"|"0"), runs of inputs with p<index> fields,
--       most dead letters, number of them, then index, letter, request for each,
--       then for each entry: its id (''  where it is not known), number of inputs,
--       then index, result for each
-- Returns: {done, total, batches, number of this batch (0: none), undone, change of it,
--           over, runs of inputs that left letters, index, outcome for each that was not stored ...}
--       over 1: nothing of the call is needed any more, no one will read it; 0: it is kept
--       outcome 0: it had a result; -1: not known here; -2: undone, and its entry was not given
--
-- Stored results are listed in batches, o<number> = "bytes:runs" in the result hash, so that a
-- reader of the call needs to remember no more than a number.
local queue, call, results, backlog, undone, dead =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[7]
local group = ARGV[1]

redis.call('XLEN', queue)
redis.call('HLEN', results)
local counts = {redis.call('GET', backlog), redis.call('GET', undone), redis.call('GET', KEYS[6])}
check_numbers(counts)
check_numbers(redis.call('HMGET', call, 'd', 'o'))
if ARGV[7] ~= '0' then
  redis.call('XLEN', dead)
end

local accepted, finished = {}, {}
local fresh, fields, bytes, others = {}, {}, 0, {}
local lettered, letters, at = {}, {}, 8
for _ = 1, tonumber(ARGV[7]) do
  letters[tonumber(ARGV[at])] = {ARGV[at + 1], ARGV[at + 2]}
  at = at + 3
end

while at <= #ARGV do
  local entry, count, stored = ARGV[at], tonumber(ARGV[at + 1]), 0
  at = at + 2
  for _ = 1, count do
    local index = tonumber(ARGV[at])
    local outcome = 1
    if not has(accepted, call, 'a', index) then
      outcome = -1
    elseif has(finished, call, 'd', index) then
      outcome = 0
    elseif entry == '' then
      outcome = -2
    else
      mark(finished, call, 'd', index)
      fresh[#fresh + 1] = index
      fields[#fields + 1] = index
      fields[#fields + 1] = ARGV[at + 1]
      bytes = bytes + #ARGV[at + 1]
      stored = stored + 1
      local letter = letters[index]
      if letter then
        redis.call('XADD', dead, 'MAXLEN', '~', ARGV[6], '*', 'l', letter[1], 'b', letter[2])
        redis.call('EXPIRE', dead, ARGV[2])
        redis.call('HSET', call, 'l', 1)
        mark(lettered, call, 'l', index)
      end
    end
    if outcome ~= 1 then
      others[#others + 1] = index
      others[#others + 1] = outcome
    end
    at = at + 2
  end
  if stored > 0 and redis.call('HINCRBY', call, 'u' .. entry, -stored) <= 0 then
    redis.call('HDEL', call, 'u' .. entry)
    if redis.call('XACK', queue, group, entry) == 0 then
      if tonumber(redis.call('GET', backlog) or '0') > 0 then
        redis.call('DECR', backlog)
      end
    end
    redis.call('XDEL', queue, entry)
  end
end

local batch, waiting, changes = 0, 0, 0
if #fresh > 0 then
  save(finished, call, 'd')
  save(lettered, call, 'l')
  local unread = redis.call('HEXISTS', call, 'w') == 1
  for i = 1, unread and 0 or #fields, 1000 do
    redis.call('HSET', results, unpack(fields, i, math.min(i + 999, #fields)))
  end
  if ARGV[4] == '1' and not unread then
    batch = redis.call('HINCRBY', call, 'o', 1)
    redis.call('HSET', results, 'o' .. batch, bytes .. ':' .. to_runs(fresh))
  end
  for _, index in ipairs(from_runs(ARGV[5])) do
    redis.call('HDEL', call, 'p' .. index)
  end
  redis.call('HINCRBY', call, 'd', #fresh)
  waiting = redis.call('DECRBY', undone, #fresh)
  changes = redis.call('INCR', KEYS[6])
  if waiting <= 0 then
    redis.call('DEL', undone)
    waiting = 0
  end
else
  waiting, changes = tonumber(counts[2] or '0'), tonumber(counts[3] or '0')
end
local meta = redis.call('HMGET', call, 'd', 'n', 'o', 'acc', 'w')
local over, left = 0, ''
if meta[4] and meta[1] == meta[4] and meta[5] then
  local id = string.match(call, '[^:]*$')
  over, left = 1, let_go(call, results, KEYS[8], id, meta[2] == '-1', ARGV[3], ARGV[2])
elseif #fresh > 0 and meta[1] == meta[4] then
  redis.call('EXPIRE', call, ARGV[2])
  redis.call('EXPIRE', results, ARGV[2])
end
local out = {tonumber(meta[1] or '0'), tonumber(meta[2] or '-1'), tonumber(meta[3] or '0'), batch,
             waiting, changes, over, left}
for _, value in ipairs(others) do
  out[#out + 1] = value
end
return out
