-- KEYS: entries, used, record   ARGV: again, number
local told = recorded(KEYS[3])
if told then return told end
redis.call('UNLINK', KEYS[1], KEYS[2])
return record(KEYS[3], '1')
