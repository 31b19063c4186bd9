-- Removes the entries of a log whose messages are all stored, with their send keys. Raises the
-- log's last id to the stored one, even if the log never held it.
--
-- KEYS  as in append.lua
-- ARGV  1 the stored id; 2 the number of messages after which this call stops, 0 to remove none
-- Returns 1 if there may be more to remove.
local call, byte, sub = redis.call, string.byte, string.sub
local log, sent, stored, limit = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2])
-- The number of entries read at once. One entry has up to 128 messages.
local ENTRIES_AT_ONCE = 8

local function parts(id)
  local ms, sequence, held = string.match(id, '^(%d+)-(%d+) ?(%d*)$')
  return tonumber(ms), tonumber(sequence), held
end

-- Calls `forget` with the send key of each message of an entry. Returns the number of messages.
local function each_key(value, forget)
  if byte(value, 1) == 1 then
    -- Version 1: one message.
    if byte(value, 2) == 1 then
      forget(sub(value, 3, 18))
    end
    return 1
  end
  local at, messages = 2, 0
  while at <= #value do
    if byte(value, at + 4) == 1 then
      forget(sub(value, at + 5, at + 20))
    end
    at = at + 4 + struct.unpack('>I4', value, at)
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
  local entries = call('XRANGE', log, from, stored, 'COUNT', ENTRIES_AT_ONCE)
  for _, entry in ipairs(entries) do
    trimmed = trimmed + each_key(entry[2][2], forget)
    from = '(' .. entry[1]
  end
  more = #entries == ENTRIES_AT_ONCE
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
