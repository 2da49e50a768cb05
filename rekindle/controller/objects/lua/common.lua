-- What the scripts of Dict and Queue share. ARGV[1] is "1" and ARGV[2] the number of the request
-- where a request is sent again whose answer did not arrive.
local LIFE_S = 604800
local MOST_ITEMS, MOST_BYTES, MOST_PARTITIONS = 5000, 67108864, 100000

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

-- Drop entries that no one has read or written for their time.
local function expire(entries, used, now)
  local limit = tonumber(now) - LIFE_S
  while true do
    local old = redis.call('ZRANGE', used, '-inf', limit, 'BYSCORE', 'LIMIT', 0, 1000)
    if #old == 0 then return end
    redis.call('HDEL', entries, unpack(old))
    redis.call('ZREM', used, unpack(old))
  end
end

local function packed(list)
  local out = {}
  for i = 1, #list do
    out[2 * i - 1] = struct.pack('>I4', #list[i])
    out[2 * i] = list[i]
  end
  return table.concat(out)
end

