-- KEYS: items, state, waiting   ARGV: number of the first item that is wanted, most, partition,
-- how it waits
-- Returns 'I', the number of the first item that is there, and items; 'E' where there is none yet.
local head = tonumber(redis.call('HGET', KEYS[2], 'h') or 0)
local from = math.max(head, tonumber(ARGV[1]))
local items = redis.call('LRANGE', KEYS[1], from - head, from - head + tonumber(ARGV[2]) - 1)
if #items == 0 then
  wait(ARGV[4], KEYS[3], 'w', ARGV[3])
  return 'E'
end
table.insert(items, 1, string.format('%.0f', from))
return 'I' .. packed(items)
