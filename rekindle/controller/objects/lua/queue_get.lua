-- KEYS: items, state, waiting, partitions, record
-- ARGV: again, number, most, partition, how it waits
-- Returns 'I' and the items; 'E' where there is none; 'W' where others wait for one already.
local told = recorded(KEYS[5])
if told then return told end
local noted = redis.call('HMGET', KEYS[3], 'i' .. ARGV[4], 'r' .. ARGV[4])
if ARGV[5] == '?' and noted[1] then return 'W' end
local items = redis.call('LPOP', KEYS[1], ARGV[3])
if not items then
  wait(ARGV[5], KEYS[3], 'i', ARGV[4])
  return 'E'
end
local size = 0
for i = 1, #items do size = size + #items[i] end
redis.call('HINCRBY', KEYS[2], 'h', #items)
if redis.call('HINCRBY', KEYS[2], 'b', -size) <= 0 and redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('ZREM', KEYS[4], ARGV[4])
end
tell(noted[2], 'r', ARGV[4], #items)
return record(KEYS[5], 'I' .. packed(items))
