-- KEYS: items, state, partitions, record   ARGV: again, number, most, partition
-- Returns 'I' and the items; 'E' where there is none.
local told = recorded(KEYS[4])
if told then return told end
local items = redis.call('LPOP', KEYS[1], ARGV[3])
if not items then return 'E' end
local size = 0
for i = 1, #items do size = size + #items[i] end
redis.call('HINCRBY', KEYS[2], 'h', #items)
if redis.call('HINCRBY', KEYS[2], 'b', -size) <= 0 and redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('ZREM', KEYS[3], ARGV[4])
end
return record(KEYS[4], 'I' .. packed(items))
