-- What the other scripts share; it is put in front of each of them.
--
-- A call knows its inputs by bitmaps in its hash, 4096 indexes to a page: a<page> accepted,
-- d<page> done. So an index is accepted once and completed once, whichever entry it came in.

local function page_of(cache, call, kind, index)
  local number = math.floor(index / 4096)
  local page = cache[number]
  if not page then
    local raw = redis.call('HGET', call, kind .. number)
    page = {bytes = raw and {string.byte(raw, 1, -1)} or {}, dirty = false}
    cache[number] = page
  end
  return page
end

local function has(cache, call, kind, index)
  local page = page_of(cache, call, kind, index)
  local byte = page.bytes[math.floor(index % 4096 / 8) + 1] or 0
  return bit.band(byte, bit.lshift(1, index % 8)) ~= 0
end

local function mark(cache, call, kind, index)
  local page = page_of(cache, call, kind, index)
  local bytes, at = page.bytes, math.floor(index % 4096 / 8) + 1
  for i = #bytes + 1, at do
    bytes[i] = 0
  end
  bytes[at] = bit.bor(bytes[at], bit.lshift(1, index % 8))
  page.dirty = true
end

local function save(cache, call, kind)
  for number, page in pairs(cache) do
    if page.dirty then
      redis.call('HSET', call, kind .. number, string.char(unpack(page.bytes)))
    end
  end
end

-- Indexes as text: runs "first-last" with commas between them.
local function to_runs(indexes)
  local out, i = {}, 1
  while i <= #indexes do
    local j = i
    while j < #indexes and indexes[j + 1] == indexes[j] + 1 do
      j = j + 1
    end
    out[#out + 1] = string.format('%d-%d', indexes[i], indexes[j])
    i = j + 1
  end
  return table.concat(out, ',')
end

local function from_runs(runs)
  local out = {}
  for first, last in string.gmatch(runs, '(%d+)%-(%d+)') do
    for index = tonumber(first), tonumber(last) do
      out[#out + 1] = index
    end
  end
  return out
end

-- The same of an entry of the queue; none where a damaged number would keep the server busy.
local function indexes_of(runs)
  for first, last in string.gmatch(runs, '(%d+)%-(%d+)') do
    if tonumber(last) - tonumber(first) > 65535 then
      return {}
    end
  end
  return from_runs(runs)
end

-- An error where one of these is to be counted on and is no number. A script that fails halfway has
-- no way back: before the first write it looks at what may be damaged.
local function check_numbers(found)
  for _, one in ipairs(found) do
    if one and not string.match(one, '^%-?%d+$') then
      error('value is not an integer: ' .. string.sub(one, 1, 40))
    end
  end
end

-- Which inputs of a call left dead letters, as runs: l says that there are such, l<page> which.
local function letters_of(call)
  local cache, out = {}, {}
  if redis.call('HEXISTS', call, 'l') == 0 then
    return ''
  end
  for _, name in ipairs(redis.call('HKEYS', call)) do
    local number = string.match(name, '^l(%d+)$')
    if number then
      local first = number * 4096
      for index = first, first + 8 * #page_of(cache, call, 'l', first).bytes - 1 do
        if has(cache, call, 'l', index) then
          out[#out + 1] = index
        end
      end
    end
  end
  return to_runs(out)
end

-- Take a call off the set of those that are kept until their results were taken. Where something
-- else lies there, it is in the way of no call, and ``prune`` tells of it.
local function unlist(once, id)
  redis.pcall('SREM', once, id)
end

-- Forget a call of which nothing is undone, and whose only reader asks for nothing more. What is
-- left of it: that nobody reads it, for a while, where more inputs may come; which of its inputs
-- left letters, as long as those. The same again gives the same answer: runs of these inputs.
local function let_go(call, results, once, id, more, ttl, letters_ttl)
  local letters = letters_of(call)
  unlist(once, id)
  redis.call('UNLINK', results)
  if letters ~= '' or more then
    redis.call('HSET', call, 'w', 1)
    redis.call('EXPIRE', call, letters ~= '' and letters_ttl or ttl)
  else
    redis.call('UNLINK', call)
  end
  return letters
end

-- A stream entry with all that is needed to go on with it:
-- {entry, call id, request, runs of its indexes, runs of those that are done,
--  "index:lost:retries:ambiguous:due_ms" with commas between, call's fields}
local function describe(prefix, raw)
  local fields = {}
  for i = 1, #raw[2], 2 do
    fields[raw[2][i]] = raw[2][i + 1]
  end
  local call = prefix .. (fields['c'] or '')
  local meta = redis.pcall('HMGET', call, 'a', 'p', 's', 't', 'k', 'acc', 'd', 'n', 'o', 'x', 'pf')
  if meta.err then -- in place of what is known of it: others are read all the same
    return {raw[1], fields['c'] or '', '', fields['r'] or '', '', meta.err, {}}
  end
  local cache, done, progress = {}, {}, {}
  for _, index in ipairs(indexes_of(fields['r'] or '')) do
    if has(cache, call, 'd', index) then
      done[#done + 1] = index
    elseif meta[11] then
      local kept = redis.call('HGET', call, 'p' .. index)
      if kept then
        progress[#progress + 1] = index .. ':' .. kept
      end
    end
  end
  return {raw[1], fields['c'] or '', fields['b'] or '', fields['r'] or '', to_runs(done),
          table.concat(progress, ','), meta}
end
