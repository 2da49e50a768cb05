-- KEYS: entries, used   ARGV: field, now_s, "1" to learn only whether it is there
-- An entry's time is brought up to date once an hour, so that a read is seldom a write.
local entry = redis.call('HGET', KEYS[1], ARGV[1])
if not entry then return '' end
local age = tonumber(ARGV[2]) - tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]) or 0)
if age >= LIFE_S then
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
  return ''
end
if age >= 3600 then
  redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
  redis.call('EXPIRE', KEYS[1], LIFE_S)
  redis.call('EXPIRE', KEYS[2], LIFE_S)
end
return ARGV[3] == '1' and '1' or entry
