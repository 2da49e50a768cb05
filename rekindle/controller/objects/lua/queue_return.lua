-- KEYS: items, state, waiting, partitions, record
-- ARGV: again, number, partition, items; none: those that the get of this number took
-- Puts them back once, however often it is run: by who took them, and by who found nobody to have
-- them.
local told, items = redis.call('GET', KEYS[5]), nil
if told then told = string.sub(told, 1, 8) == ARGV[2] and string.sub(told, 9) end
if told and not string.find(told, '^[IL]') then return '1' end
if ARGV[4] ~= '' then
  items = cmsgpack.unpack(ARGV[4])
elseif not told then
  return '1'
elseif told == 'L' then
  items = redis.call('LRANGE', KEYS[5] .. ':items', 0, -1)
else
  local sizes, count, at = {}, 0, 2 -- as common.lua packs them
  items = {}
  count, at = struct.unpack('>I4', told, at)
  for i = 1, count do sizes[i], at = struct.unpack('>I4', told, at) end
  for i = 1, count do
    items[i] = string.sub(told, at, at + sizes[i] - 1)
    at = at + sizes[i]
  end
end
local size = 0
for i = #items, 1, -1 do
  size = size + #items[i]
  redis.call('LPUSH', KEYS[1], items[i])
end
redis.call('HINCRBY', KEYS[2], 'b', size)
redis.call('HINCRBY', KEYS[2], 'h', -#items)
if redis.call('PTTL', KEYS[1]) < 0 then
  redis.call('PEXPIRE', KEYS[1], 86400000)
  redis.call('PEXPIRE', KEYS[2], 86400000)
  redis.call('ZADD', KEYS[4], string.format('%.0f', now_ms() + 86400000), ARGV[3])
end
local noted = redis.call('HMGET', KEYS[3], 'i' .. ARGV[3], 'w' .. ARGV[3])
tell(noted[1], 'i', ARGV[3], #items)
tell(noted[2], 'w', ARGV[3], #items)
return record(KEYS[5], '1')
