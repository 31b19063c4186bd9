-- Assigns ids to drafts and appends them to the log of a partition, as one entry in one atomic
-- step.
--
-- KEYS  1 the log, a stream; 2 the send keys of its messages, a hash; 3 the last id given and the
--       number of messages in the log, as <milliseconds>-<sequence> <count>
-- ARGV  1-2 the least id to give, as milliseconds and sequence; 3 the capacity of the log in
--       messages; 4 the number of drafts; 5 the entry that holds all drafts, see log_entry.rs; then
--       the send keys of the drafts that have one, in order; then the index of each of these
--       drafts, from 0
-- Returns the first id given; one letter for each draft: N appended, R a repeat, F the log is full;
-- then, for each repeat, the id of its first send. Appended drafts get consecutive ids from the
-- first one on, with sequences below 4096 as in a message id. The entry gets the last of them. The
-- hash stores the id of each send key's message as <id> or as <id>+<offset>.
--
-- Lua processes every byte of a string that it creates, so the entry is passed as one string. It is
-- split only if a draft is a repeat or exceeds the capacity.
local call, byte, sub = redis.call, string.byte, string.sub
local log, sent, entry = KEYS[1], KEYS[2], ARGV[5]
local ms, sequence, drafts = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[4])
local named = (#ARGV - 5) / 2

-- The stream holds the last id and the length too, but reading them costs more than the append.
local count = 0
local last = call('GET', KEYS[3])
if last then
  local last_ms, last_sequence, held = string.match(last, '^(%d+)-(%d+) ?(%d*)$')
  last_ms, last_sequence = tonumber(last_ms), tonumber(last_sequence)
  -- Earlier versions stored one message in each entry and no count.
  count = tonumber(held) or call('XLEN', log)
  if last_ms > ms or (last_ms == ms and last_sequence >= sequence) then
    ms, sequence = last_ms, last_sequence + 1
  end
end
local free = tonumber(ARGV[3]) - count

-- The id of the appended message at an index, from 0.
local function id_at(index)
  local carried = sequence + index
  return ms + math.floor(carried / 4096) .. '-' .. carried % 4096
end

local first = id_at(0)
local all = free >= drafts
local known = {}
if named > 0 then
  known = call('HMGET', sent, unpack(ARGV, 6, 5 + named))
  for index = 1, named do
    all = all and not known[index]
  end
  if all then
    local fields, prefix = {}, first .. '+'
    for index = 1, named do
      fields[2 * index - 1] = ARGV[5 + index]
      fields[2 * index] = prefix .. ARGV[5 + named + index]
    end
    -- HSET returns fewer if a send key occurs twice among the drafts; the loop below then writes
    -- all fields again.
    all = call('HSET', sent, unpack(fields)) == named
  end
end

local given = drafts
local letters, repeats = nil, {}
if all then
  letters = string.rep('N', drafts)
else
  local firsts, fields, values, at = {}, {}, {}, 2
  for index = 1, named do
    firsts[ARGV[5 + index]] = known[index] or nil
  end
  given, letters = 0, {}
  for draft = 1, drafts do
    local next_at = at + 4 + struct.unpack('>I4', entry, at)
    local key = byte(entry, at + 4) == 1 and sub(entry, at + 5, at + 20)
    if key and firsts[key] then
      -- A repeat needs no capacity, so it is recognised in a full log too.
      letters[draft] = 'R'
      repeats[#repeats + 1] = firsts[key]
    elseif given >= free then
      letters[draft] = 'F'
    else
      if key then
        firsts[key] = id_at(given)
        fields[#fields + 1] = key
        fields[#fields + 1] = firsts[key]
      end
      letters[draft] = 'N'
      given = given + 1
      values[given] = sub(entry, at, next_at - 1)
    end
    at = next_at
  end
  letters = table.concat(letters)
  entry = sub(entry, 1, 1) .. table.concat(values)
  if #fields > 0 then
    call('HSET', sent, unpack(fields))
  end
end
if given > 0 then
  local id = id_at(given - 1)
  call('XADD', log, id, 'm', entry)
  call('SET', KEYS[3], id .. ' ' .. count + given)
end
return {first, letters, unpack(repeats)}
