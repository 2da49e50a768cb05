-- KEYS: entries
return tostring(redis.call('HLEN', KEYS[1]))
