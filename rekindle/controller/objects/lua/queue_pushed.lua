-- KEYS: items, state, waiting, partitions, record
-- ARGV: again, number, ttl_ms, partition, how many, their bytes, how it waits
-- The same for items that were pushed just before, in one transaction, so that no one has seen them:
-- they are taken back where they may not be there. Many items are not taken through Lua so.
local number = tonumber(ARGV[5])
local there = redis.call('LLEN', KEYS[1]) - number
local said = put(number, tonumber(ARGV[6]), there, ARGV[3], ARGV[4], ARGV[7], function() end)
if said ~= '1' then redis.call('LTRIM', KEYS[1], 0, -number - 1) end
return said
