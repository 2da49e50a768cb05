-- Take calls that are gone, as their time was over, off the set of those that are kept until their
-- results were taken. Looks at some of them.
--
-- KEYS: the set
-- ARGV: where to go on, prefix of call hashes, about how many
-- Returns: where to go on the next time; "0": all were looked at
local got = redis.call('SSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[3])
for _, id in ipairs(got[2]) do
  if redis.call('EXISTS', ARGV[2] .. id) == 0 then
    redis.call('SREM', KEYS[1], id)
  end
end
return got[1]
