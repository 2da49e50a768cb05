-- KEYS: items, state, waiting, partitions, record
-- ARGV: again, number, ttl_ms, partition, items, how it waits
-- Returns '1'; 'F' and the milliseconds that the partition has left where they do not fit; 'W' where
-- others wait for room already; 'P' where there are too many partitions; 'B' for what never fits.
local told = recorded(KEYS[5])
if told then return told end
local items, size = cmsgpack.unpack(ARGV[5]), 0
for i = 1, #items do size = size + #items[i] end
return put(#items, size, redis.call('LLEN', KEYS[1]), ARGV[3], ARGV[4], ARGV[6], function()
  for i = 1, #items, 4000 do
    redis.call('RPUSH', KEYS[1], unpack(items, i, math.min(i + 3999, #items)))
  end
end)
