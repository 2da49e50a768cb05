-- KEYS: entries, used, record   ARGV: again, number, now_s, field
local told = recorded(KEYS[3])
if told then return told end
expire(KEYS[1], KEYS[2], ARGV[3])
local entry = redis.call('HGET', KEYS[1], ARGV[4])
if not entry then return '' end
redis.call('HDEL', KEYS[1], ARGV[4])
redis.call('ZREM', KEYS[2], ARGV[4])
return record(KEYS[3], entry)
