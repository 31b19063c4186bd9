-- Gives drafts their ids and appends them to the log of a partition, in one step.
--
-- KEYS  the log, a stream; the send keys of its entries, a hash of send key -> id
-- ARGV  the least id to give, as milliseconds and sequence; how many entries the log may hold;
--       then for each draft its send key, which may be empty, and its value
-- Answers for each draft: N<id> appended; R<id> the send that it repeats; F the log is full.
--
-- An id is that of a stream entry, <milliseconds>-<sequence>, with sequences below 4096 as in a
-- message id. What was given last, the stream itself knows, also when all of it was trimmed.
local call = redis.call
local log, sent = KEYS[1], KEYS[2]
local ms, sequence, room = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

local stream = redis.pcall('XINFO', 'STREAM', log)
if not stream.err then
  for field = 1, #stream, 2 do
    local name, value = stream[field], stream[field + 1]
    if name == 'length' then
      room = room - value
    elseif name == 'last-generated-id' then
      local last_ms, last_sequence = string.match(value, '^(%d+)-(%d+)$')
      last_ms, last_sequence = tonumber(last_ms), tonumber(last_sequence)
      if last_ms > ms or (last_ms == ms and last_sequence >= sequence) then
        ms, sequence = last_ms, last_sequence + 1
      end
    end
  end
end

local answers = {}
for draft = 4, #ARGV, 2 do
  if sequence > 4095 then
    ms, sequence = ms + 1, 0
  end
  local key = ARGV[draft]
  local id = ms .. '-' .. sequence
  local first = false
  if key ~= '' then
    -- A repeat takes no room, so it is known in a full log too.
    if room <= 0 then
      first = call('HGET', sent, key)
    elseif call('HSETNX', sent, key, id) == 0 then
      first = call('HGET', sent, key)
    end
  end
  if first then
    answers[#answers + 1] = 'R' .. first
  elseif room <= 0 then
    answers[#answers + 1] = 'F'
  else
    if key ~= '' then
      call('XADD', log, id, 'm', ARGV[draft + 1], 'k', key)
    else
      call('XADD', log, id, 'm', ARGV[draft + 1])
    end
    answers[#answers + 1] = 'N' .. id
    room, sequence = room - 1, sequence + 1
  end
end
return answers
