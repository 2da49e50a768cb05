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

-- Count what was done, for who looks on: in memory alone, not in the file and not on replicas.
local function count(key, what, number)
  redis.set_repl(redis.REPL_NONE)
  redis.pcall('HINCRBY', key, what, number)
  redis.set_repl(redis.REPL_ALL)
end

-- Tell who waits for this ('i' an item, 'r' room, 'w' more to look at) in a partition.
local function tell(waiting, kind, partition, number)
  local channel = redis.call('HGET', waiting, kind .. partition)
  if channel then redis.call('PUBLISH', channel, kind .. number .. ':' .. partition) end
end

-- Whether who asks directly, and would wait, has to stand behind others.
local function behind(how, waiting, kind, partition)
  return how == '?' and redis.call('HEXISTS', waiting, kind .. partition) == 1
end

-- Note that somebody waits; who takes this away says so to Redis later than who asks again.
local function wait(how, waiting, kind, partition)
  if #how > 1 then redis.call('HSET', waiting, kind .. partition, how) end
end

-- What was answered to this request already.
local function recorded(key)
  if ARGV[1] ~= '1' then return nil end
  local told = redis.call('GET', key)
  if told and string.sub(told, 1, 8) == ARGV[2] then return string.sub(told, 9) end
  return nil
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

-- A Dict that no one uses goes as a whole, a little after its last entry has had its time.
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

