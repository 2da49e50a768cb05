-- KEYS: items, state, waiting, partitions, record, list of the items that are answered
-- ARGV: again, number, most, partition, how it waits
-- Takes all items where they are `most` at most, into a list that is read in the same transaction,
-- so that they are not taken through Lua. Returns 'I'; 'S' where there are more; as queue_get.lua
-- does otherwise.
redis.call('UNLINK', KEYS[6])
local of = redis.call('HMGET', KEYS[3], 'i' .. ARGV[4], 'r' .. ARGV[4])
if ARGV[5] == '?' and of[1] then return 'W' end
local there = redis.call('LLEN', KEYS[1])
if there == 0 then return 'E' end
if there > tonumber(ARGV[3]) then return 'S' end
redis.call('RENAME', KEYS[1], KEYS[6])
redis.call('PEXPIRE', KEYS[6], 120000)
redis.call('HSET', KEYS[2], 'b', 0)
redis.call('HINCRBY', KEYS[2], 'h', there)
redis.call('ZREM', KEYS[4], ARGV[4])
tell(of[2], 'r', ARGV[4], there)
record(KEYS[5], 'L')
return 'I'
