-- KEYS: entries, used   ARGV: now_s
expire(KEYS[1], KEYS[2], ARGV[1])
return tostring(redis.call('HLEN', KEYS[1]))
