-- Mark a call cancelled, which holds for inputs that come later too, and say what is left of it.
-- One that is done, with no more to come, stays what it is.
--
-- KEYS: call hash
-- ARGV: "1", or "2" to end its runners
-- Returns: {known, entry of the queue with undone inputs, ...}
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {0}
end
local at = redis.call('HMGET', KEYS[1], 'd', 'n')
local done, total = tonumber(at[1] or '0'), tonumber(at[2] or '-1')
if total >= 0 and done >= total then
  return {1}
end
redis.call('HSET', KEYS[1], 'x', ARGV[1])
local out = {1}
for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(name, 1, 1) == 'u' then
    out[#out + 1] = string.sub(name, 2)
  end
end
return out
