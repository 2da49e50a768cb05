-- Take the next inputs that wait on the stream: they become pending for the consumer.
--
-- KEYS: queue stream, backlog counter
-- ARGV: group, consumer, count
-- Returns: {left, {entry, fields}, ...}
local got = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', ARGV[3],
                       'STREAMS', KEYS[1], '>')
local entries = got and got[1] and got[1][2] or {}
local left = tonumber(redis.call('GET', KEYS[2]) or '0') - #entries
if left <= 0 or #entries == 0 then
  left = 0
  redis.call('DEL', KEYS[2])
else
  redis.call('SET', KEYS[2], left)
end
local out = {left}
for _, entry in ipairs(entries) do
  out[#out + 1] = entry
end
return out
