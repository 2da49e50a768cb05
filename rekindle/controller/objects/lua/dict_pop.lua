-- KEYS: entries, record   ARGV: again, number, field
local told = recorded(KEYS[2])
if told then return told end
local entry = live(KEYS[1], ARGV[3])
if not entry then return '' end
redis.call('HDEL', KEYS[1], ARGV[3])
return record(KEYS[2], entry)
