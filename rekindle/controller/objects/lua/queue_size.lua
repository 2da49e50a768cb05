-- KEYS: partitions   ARGV: what keys of items and of states begin with, from which one, how many
-- Returns how many items and bytes these partitions have.
local number, size = 0, 0
for _, name in ipairs(redis.call('ZRANGE', KEYS[1], ARGV[3], ARGV[3] + ARGV[4] - 1)) do
  local there = redis.call('LLEN', ARGV[1] .. name)
  number = number + there
  if there > 0 then size = size + (redis.call('HGET', ARGV[2] .. name, 'b') or 0) end
end
return {number, size}
