-- Forgets the entries of a log whose messages are all stored, with their send keys, and never gives
-- ids up to the stored one again, even if the log never held them.
--
-- KEYS  as of append.lua
-- ARGV  the stored id; how many messages to forget before another call has to go on, 0 to forget none
-- Answers 1 if there may be more to forget.
local call, byte, sub = redis.call, string.byte, string.sub
local log, sent, stored, limit = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2])
-- As many entries are looked at together. One has up to 128 messages.
local TOGETHER = 8

local function parts(id)
  local ms, sequence, held = string.match(id, '^(%d+)-(%d+) ?(%d*)$')
  return tonumber(ms), tonumber(sequence), held
end

-- Calls back with the send key of each message of an entry; answers how many messages it has.
local function each_key(value, forget)
  if byte(value, 1) == 1 then
    -- One message, as once.
    if byte(value, 2) == 1 then
      forget(sub(value, 3, 18))
    end
    return 1
  end
  local place, messages = 2, 0
  while place <= #value do
    if byte(value, place + 4) == 1 then
      forget(sub(value, place + 5, place + 20))
    end
    place = place + 4 + struct.unpack('>I4', value, place)
    messages = messages + 1
  end
  return messages
end

local last = call('GET', KEYS[3]) or '0-0 0'
local ms, sequence = parts(stored)
local last_ms, last_sequence, held = parts(last)
local count = tonumber(held) or call('XLEN', log)
if last_ms < ms or (last_ms == ms and last_sequence < sequence) then
  last_ms, last_sequence = ms, sequence
end

local keys, trimmed, from, more = {}, 0, '-', limit > 0
local function forget(key)
  keys[#keys + 1] = key
end
while more do
  local entries = call('XRANGE', log, from, stored, 'COUNT', TOGETHER)
  for _, entry in ipairs(entries) do
    trimmed = trimmed + each_key(entry[2][2], forget)
    from = '(' .. entry[1]
  end
  more = #entries == TOGETHER
  if trimmed >= limit then
    break
  end
end

if trimmed > 0 then
  ms, sequence = parts(sub(from, 2))
  call('XTRIM', log, 'MINID', ms .. '-' .. (sequence + 1))
  if #keys > 0 then
    call('HDEL', sent, unpack(keys))
  end
end
local now = last_ms .. '-' .. last_sequence .. ' ' .. (count - trimmed)
if now ~= last then
  call('SET', KEYS[3], now)
end
return more and 1 or 0
