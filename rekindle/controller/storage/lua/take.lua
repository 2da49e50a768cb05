-- Take the next entries that wait on the stream: they become pending for the consumer.
--
-- KEYS: queue stream, backlog counter
-- ARGV: group, consumer, most inputs, most bytes, most entries, prefix of call hashes
-- Returns: {left, entry as common.lua describes it, ...}; the last one may go over the limits
local queue, backlog = KEYS[1], KEYS[2]
local inputs, bytes = tonumber(ARGV[3]), tonumber(ARGV[4])
local out, taken, dry = {0}, 0, false
check_numbers({redis.call('GET', backlog)})
while inputs > 0 and bytes > 0 and taken < tonumber(ARGV[5]) do
  local got = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', 1,
                         'STREAMS', queue, '>')
  local raw = got and got[1] and got[1][2] and got[1][2][1]
  if not raw then
    dry = true
    break
  end
  local entry = describe(ARGV[6], raw)
  out[#out + 1] = entry
  taken = taken + 1
  inputs = inputs - #indexes_of(entry[4])
  bytes = bytes - #entry[3]
end
local left = tonumber(redis.call('GET', backlog) or '0') - taken
if dry or left <= 0 then
  left = 0
  redis.call('DEL', backlog)
else
  redis.call('SET', backlog, left)
end
out[1] = left
return out
