-- KEYS: items, partitions   ARGV: "1" for all partitions, what their keys begin with
if ARGV[1] ~= '1' then return tostring(redis.call('LLEN', KEYS[1])) end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now_ms())
local total = 0
for _, name in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  total = total + redis.call('LLEN', ARGV[2] .. name)
end
return tostring(total)
