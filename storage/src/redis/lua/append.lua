-- Gives drafts their ids and appends them to the log of a partition, in one step and in one entry.
--
-- KEYS  the log, a stream; the send keys of its messages, a hash; the last id given and how many
--       messages the log holds, as <milliseconds>-<sequence> <count>
-- ARGV  the least id to give, as milliseconds and sequence; how many messages the log may hold; how
--       many drafts there are; the entry that holds them all, see log_entry.rs; the send keys of
--       those that have one, in order; the place of each of these among the drafts, from 0
-- Answers the first id given; a letter a draft: N appended, R a repeat, F the log is full; then the id
-- that each repeat repeats. Those appended have the first id and the ones that follow it, in order,
-- with sequences below 4096 as in a message id. The entry has the last of them. Beside a send key
-- stands the id of its message, as <id> or as <id>+<how many further>.
--
-- What is said is a string to Lua, of which it looks at every byte: so it is one, and it is taken
-- apart only if a draft is a repeat or has no room.
local call, byte, sub = redis.call, string.byte, string.sub
local log, sent, entry = KEYS[1], KEYS[2], ARGV[5]
local ms, sequence, drafts = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[4])
local named = (#ARGV - 5) / 2

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

-- The id of the message at a place among those appended, from 0.
local function id_at(place)
  local carried = sequence + place
  return ms + math.floor(carried / 4096) .. '-' .. carried % 4096
end

local first = id_at(0)
local all = room >= drafts
local known = {}
if named > 0 then
  known = call('HMGET', sent, unpack(ARGV, 6, 5 + named))
  for place = 1, named do
    all = all and not known[place]
  end
  if all then
    local names, prefix = {}, first .. '+'
    for place = 1, named do
      names[2 * place - 1] = ARGV[5 + place]
      names[2 * place] = prefix .. ARGV[5 + named + place]
    end
    -- Or else one of them repeats another one; then it is all written again below.
    all = call('HSET', sent, unpack(names)) == named
  end
end

local given = drafts
local letters, repeats = nil, {}
if all then
  letters = string.rep('N', drafts)
else
  local firsts, names, values, at = {}, {}, {}, 2
  for place = 1, named do
    firsts[ARGV[5 + place]] = known[place] or nil
  end
  given, letters = 0, {}
  for draft = 1, drafts do
    local behind = at + 4 + struct.unpack('>I4', entry, at)
    local key = byte(entry, at + 4) == 1 and sub(entry, at + 5, at + 20)
    if key and firsts[key] then
      -- A repeat takes no room, so it is known in a full log too.
      letters[draft] = 'R'
      repeats[#repeats + 1] = firsts[key]
    elseif given >= room then
      letters[draft] = 'F'
    else
      if key then
        firsts[key] = id_at(given)
        names[#names + 1] = key
        names[#names + 1] = firsts[key]
      end
      letters[draft] = 'N'
      given = given + 1
      values[given] = sub(entry, at, behind - 1)
    end
    at = behind
  end
  letters = table.concat(letters)
  entry = sub(entry, 1, 1) .. table.concat(values)
  if #names > 0 then
    call('HSET', sent, unpack(names))
  end
end
if given > 0 then
  local id = id_at(given - 1)
  call('XADD', log, id, 'm', entry)
  call('SET', KEYS[3], id .. ' ' .. count + given)
end
return {first, letters, unpack(repeats)}
