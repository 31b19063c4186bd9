-- Gives drafts their ids and appends them to the log of a partition, in one step.
--
-- KEYS  the log, a stream; the send keys of its entries, a hash of send key -> id; the last id given
-- ARGV  the least id to give, as milliseconds and sequence; how many entries the log may hold;
--       then the values of the drafts, see message_log.rs: the second byte is 1 if a send key of 16
--       bytes comes next
-- Answers for each draft: N<id> appended; R<id> the send that it repeats; F the log is full.
--
-- An id is that of a stream entry, <milliseconds>-<sequence>, with sequences below 4096 as in a
-- message id. The stream knows its last id too, but to ask it costs more than two appends.
local call = redis.call
local log, sent = KEYS[1], KEYS[2]
local ms, sequence = tonumber(ARGV[1]), tonumber(ARGV[2])
local room = tonumber(ARGV[3]) - call('XLEN', log)

local last = call('GET', KEYS[3])
if last then
  local last_ms, last_sequence = string.match(last, '^(%d+)-(%d+)$')
  last_ms, last_sequence = tonumber(last_ms), tonumber(last_sequence)
  if last_ms > ms or (last_ms == ms and last_sequence >= sequence) then
    ms, sequence = last_ms, last_sequence + 1
  end
end

local byte, sub = string.byte, string.sub
local answers, given, prefix = {}, nil, ms .. '-'
for draft = 4, #ARGV do
  if sequence > 4095 then
    ms, sequence = ms + 1, 0
    prefix = ms .. '-'
  end
  local value = ARGV[draft]
  local id = prefix .. sequence
  local first = false
  if byte(value, 2) == 1 then
    local key = sub(value, 3, 18)
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
    call('XADD', log, id, 'm', value)
    answers[#answers + 1] = 'N' .. id
    room, sequence, given = room - 1, sequence + 1, id
  end
end
if given then
  call('SET', KEYS[3], given)
end
return answers
