-- What the scripts of Dict and Queue share. ARGV[1] is "1" and ARGV[2] the number of the request
-- where a request is sent again whose answer did not arrive.
local LIFE_S = 604800
local MOST_ITEMS, MOST_BYTES, MOST_PARTITIONS = 5000, 67108864, 100000

-- One clock for all who ask, on whatever machine.
local function now_s() return tonumber(redis.call('TIME')[1]) end
local function now_ms()
  local now = redis.call('TIME')
  return tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
end

-- Tell who waits for this ('i' an item, 'r' room, 'w' more to look at) in a partition, by the
-- channel that was noted for it.
local function tell(channel, kind, partition, number)
  if channel then redis.call('PUBLISH', channel, kind .. number .. ':' .. partition) end
end

-- Note that somebody waits; who takes this away says so to Redis later than who asks again.
local function wait(how, waiting, kind, partition)
  if #how > 1 then redis.call('HSET', waiting, kind .. partition, how) end
end

-- Keep the answer for who has not got it.
local function record(key, answer)
  redis.call('SET', key, ARGV[2] .. answer, 'PX', 120000)
  return answer
end

-- An entry, unless no one has read or written it for its time.
local function live(entries, field)
  local entry = redis.call('HGET', entries, field)
  if entry and now_s() - struct.unpack('>I4', entry) >= LIFE_S then
    redis.call('HDEL', entries, field)
    return false
  end
  return entry
end

-- A Dict that no one uses goes as a whole, a little after its last entry has had its time. The
-- controller looks at each Dict every hour, and keeps it.
local function keep(entries)
  if redis.call('TTL', entries) < LIFE_S then redis.call('EXPIRE', entries, LIFE_S + 7200) end
end

-- How many, how long each is, and all of them behind one another.
local function packed(list)
  local sizes, out = {}, {}
  for i = 1, #list do sizes[i] = #list[i] end
  for i = 1, #sizes, 4000 do
    local last = math.min(i + 3999, #sizes)
    out[#out + 1] = struct.pack('>' .. string.rep('I4', last - i + 1), unpack(sizes, i, last))
  end
  return struct.pack('>I4', #list) .. table.concat(out) .. table.concat(list)
end

-- What was answered to this request already. Where all items of a partition were taken at once,
-- they are in a list of their own.
local function recorded(key)
  if ARGV[1] ~= '1' then return nil end
  local told = redis.call('GET', key)
  if not told or string.sub(told, 1, 8) ~= ARGV[2] then return nil end
  if #told == 9 and string.sub(told, 9) == 'L' then
    return 'I' .. packed(redis.call('LRANGE', key .. ':items', 0, -1))
  end
  return string.sub(told, 9)
end

-- Put items of so many bytes behind those that are there: '1' once `push` has done that; another
-- word, as queue_put.lua says, where they may not be there.
local function put(number, size, there, ttl_ms, partition, how, push)
  if number > MOST_ITEMS or size > MOST_BYTES then return 'B' end
  local of = redis.call('HMGET', KEYS[3], 'r' .. partition, 'i' .. partition, 'w' .. partition)
  if how == '?' and of[1] then return 'W' end
  local state = redis.call('HMGET', KEYS[2], 'b', 'h')
  local held = there > 0 and tonumber(state[1] or 0) or 0
  if there + number > MOST_ITEMS or held + size > MOST_BYTES then
    wait(how, KEYS[3], 'r', partition)
    return 'F' .. tostring(redis.call('PTTL', KEYS[1]))
  end
  local now = now_ms()
  if there == 0 and redis.call('ZCARD', KEYS[4]) >= MOST_PARTITIONS then
    redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', now)
    if redis.call('ZCARD', KEYS[4]) >= MOST_PARTITIONS then return 'P' end
  end
  push()
  -- Numbers of items never repeat, also when a partition has ended and comes again.
  local first = state[2] or string.format('%.0f000', now)
  redis.call('HSET', KEYS[2], 'b', string.format('%.0f', held + size), 'h', first)
  redis.call('PEXPIRE', KEYS[1], ttl_ms)
  redis.call('PEXPIRE', KEYS[2], ttl_ms)
  redis.call('ZADD', KEYS[4], string.format('%.0f', now + tonumber(ttl_ms)), partition)
  tell(of[2], 'i', partition, number)
  tell(of[3], 'w', partition, number)
  return record(KEYS[5], '1')
end

