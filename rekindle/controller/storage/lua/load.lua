-- Read entries of the queue by their ids, with what is known of them; those that are gone are
-- left out.
--
-- KEYS: queue stream
-- ARGV: prefix of call hashes, then entry ids
-- Returns: {entry as common.lua describes it, ...}
local out = {}
for i = 2, #ARGV do
  local raw = redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])[1]
  if raw then
    out[#out + 1] = describe(ARGV[1], raw)
  end
end
return out
