-- Change fields of a hash, each if it is what the writer thinks it is.
-- KEYS: hash. ARGV, for each: field, what it is ("" where there is none), what it is to be.
-- Returns for each 1, or 0 where somebody else has changed it.
local done = {}
for at = 1, #ARGV, 3 do
  local field, before, after = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local now = redis.call('HGET', KEYS[1], field) or ''
  if now == before then
    redis.call('HSET', KEYS[1], field, after)
    done[#done + 1] = 1
  else
    -- The same again: the reply of the first time was lost.
    done[#done + 1] = now == after and 1 or 0
  end
end
return done
