-- Forgets entries of a log up to a stored id, with their send keys, and never gives ids up to it
-- again, even if the log never held them.
--
-- KEYS  the log, a stream; the send keys of its entries; the last id given
-- ARGV  the stored id; how many entries to forget at most, 0 to forget none
-- Answers 1 if there may be more to forget.
local call = redis.call
local log, sent, stored, limit = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2])

local function parts(id)
  local ms, sequence = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(sequence)
end

local ms, sequence = parts(stored)
local last_ms, last_sequence = parts(call('GET', KEYS[3]) or '0-0')
if last_ms < ms or (last_ms == ms and last_sequence < sequence) then
  call('SET', KEYS[3], stored)
end

if limit == 0 then
  return 0
end
local entries = call('XRANGE', log, '-', stored, 'COUNT', limit)
if #entries == 0 then
  return 0
end
local keys = {}
for _, entry in ipairs(entries) do
  local value = entry[2][2]
  if string.byte(value, 2) == 1 then
    keys[#keys + 1] = string.sub(value, 3, 18)
  end
end
if #keys > 0 then
  call('HDEL', sent, unpack(keys))
end
ms, sequence = parts(entries[#entries][1])
call('XTRIM', log, 'MINID', ms .. '-' .. (sequence + 1))
return #entries == limit and 1 or 0
