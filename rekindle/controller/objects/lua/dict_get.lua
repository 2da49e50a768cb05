-- KEYS: entries   ARGV: field, "1" to learn only whether it is there
-- An entry's time is brought up to date once an hour, so that a read is seldom a write.
local entry = redis.call('HGET', KEYS[1], ARGV[1])
if not entry then return '' end
local now = now_s()
local age = now - struct.unpack('>I4', entry)
if age >= LIFE_S then
  redis.call('HDEL', KEYS[1], ARGV[1])
  return ''
end
if age >= 3600 then
  redis.call('HSET', KEYS[1], ARGV[1], struct.pack('>I4', now) .. string.sub(entry, 5))
  keep(KEYS[1])
end
return ARGV[2] == '1' and '1' or entry
