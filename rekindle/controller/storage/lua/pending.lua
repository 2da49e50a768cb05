-- The ids of entries that somebody took and that are not completed. With a time, those of them
-- that were not touched for so long, which are then the consumer's.
--
-- KEYS: queue stream
-- ARGV: group, consumer, idle time in ms (-1: all, as they are)
-- Returns: {entry, ...}
local out = {}
if tonumber(ARGV[3]) >= 0 then
  local cursor = '0-0'
  repeat
    local got = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], cursor,
                           'COUNT', 100, 'JUSTID')
    cursor = got[1]
    for _, entry in ipairs(got[2]) do
      if entry then
        out[#out + 1] = entry
      end
    end
  until cursor == '0-0'
  return out
end
local after = '-'
repeat
  local page = redis.call('XPENDING', KEYS[1], ARGV[1], after, '+', 1000)
  for _, one in ipairs(page) do
    out[#out + 1] = one[1]
  end
  after = #page > 0 and '(' .. page[#page][1] or after
until #page < 1000
return out
