-- KEYS: entries, record   ARGV: again, number
local told = recorded(KEYS[2])
if told then return told end
redis.call('UNLINK', KEYS[1])
return record(KEYS[2], '1')
