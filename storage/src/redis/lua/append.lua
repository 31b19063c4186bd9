-- Gives drafts their ids and appends them to the log of a partition, in one step and in one entry.
--
-- KEYS  the log, a stream; the send keys of its messages, a hash of send key -> id; the last id given
--       and how many messages the log holds, as <milliseconds>-<sequence> <count>
-- ARGV  the least id to give, as milliseconds and sequence; how many messages the log may hold;
--       then the drafts as message_log.rs has them: behind a length of 4 bytes, 1 and the send key
--       of 16 bytes, or another byte
-- Answers the first id given, or nothing; a letter a draft: N appended, R a repeat, F the log is
-- full; then the id that each repeat repeats. The drafts appended have the first id and those that
-- follow it, in order, with sequences below 4096 as in a message id. The entry has the last.
local call, byte, sub = redis.call, string.byte, string.sub
local log, sent = KEYS[1], KEYS[2]
local ms, sequence = tonumber(ARGV[1]), tonumber(ARGV[2])

-- The stream knows both too, but to ask it costs more than to append.
local count = 0
local last = call('GET', KEYS[3])
if last then
  local last_ms, last_sequence, held = string.match(last, '^(%d+)-(%d+) ?(%d*)$')
  last_ms, last_sequence = tonumber(last_ms), tonumber(last_sequence)
  -- Entries once held one message each, and nobody counted.
  count = tonumber(held) or call('XLEN', log)
  if last_ms > ms or (last_ms == ms and last_sequence >= sequence) then
    ms, sequence = last_ms, last_sequence + 1
  end
end
local room = tonumber(ARGV[3]) - count

local keys = {}
for draft = 4, #ARGV do
  local value = ARGV[draft]
  if byte(value, 5) == 1 then
    keys[#keys + 1] = sub(value, 6, 21)
  end
end
local firsts = {}
if #keys > 0 then
  local known = call('HMGET', sent, unpack(keys))
  for place, key in ipairs(keys) do
    firsts[key] = known[place] or nil
  end
end

local first, id, prefix = '', nil, nil
local letters, repeats, values, names, named = {}, {}, {'\2'}, {}, 0
for draft = 4, #ARGV do
  local value = ARGV[draft]
  local key = nil
  if byte(value, 5) == 1 then
    named = named + 1
    key = keys[named]
  end
  if key and firsts[key] then
    -- A repeat takes no room, so it is known in a full log too.
    letters[#letters + 1] = 'R'
    repeats[#repeats + 1] = firsts[key]
  elseif room <= 0 then
    letters[#letters + 1] = 'F'
  else
    if sequence > 4095 then
      ms, sequence, prefix = ms + 1, 0, nil
    end
    prefix = prefix or ms .. '-'
    id = prefix .. sequence
    if first == '' then
      first = id
    end
    if key then
      firsts[key] = id
      names[#names + 1] = key
      names[#names + 1] = id
    end
    letters[#letters + 1] = 'N'
    values[#values + 1] = value
    room, count, sequence = room - 1, count + 1, sequence + 1
  end
end
if id then
  call('XADD', log, id, 'm', table.concat(values))
  if #names > 0 then
    call('HSET', sent, unpack(names))
  end
  call('SET', KEYS[3], id .. ' ' .. count)
end
return {first, table.concat(letters), unpack(repeats)}
