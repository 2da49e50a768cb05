-- KEYS: entries, used, record   ARGV: again, number, now_s, "1" to keep what is there, pairs
local told = recorded(KEYS[3])
if told then return told end
local pairs_ = cmsgpack.unpack(ARGV[5])
local times = {}
for i = 1, #pairs_, 2 do
  times[i] = ARGV[3]
  times[i + 1] = pairs_[i]
end
if ARGV[4] == '1' then
  expire(KEYS[1], KEYS[2], ARGV[3])
  if redis.call('HSETNX', KEYS[1], pairs_[1], pairs_[2]) == 0 then return record(KEYS[3], '0') end
else
  for i = 1, #pairs_, 4000 do
    redis.call('HSET', KEYS[1], unpack(pairs_, i, math.min(i + 3999, #pairs_)))
  end
end
for i = 1, #times, 4000 do
  redis.call('ZADD', KEYS[2], unpack(times, i, math.min(i + 3999, #times)))
end
redis.call('EXPIRE', KEYS[1], LIFE_S)
redis.call('EXPIRE', KEYS[2], LIFE_S)
return record(KEYS[3], '1')
