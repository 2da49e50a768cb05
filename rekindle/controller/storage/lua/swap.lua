-- Change a field of a hash, if it is what the writer thinks it is.
-- KEYS: hash. ARGV: field, what it is ("" where there is none), what it is to be.
-- Returns 1, or 0 where somebody else has changed it.
local now = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if now ~= ARGV[2] then
    -- The same again: the reply of the first time was lost.
    return now == ARGV[3] and 1 or 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
