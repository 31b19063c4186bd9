-- Which living nodes hold keys.
--
-- KEYS  the names of all nodes
-- ARGV  what all sets of nodes begin with; the keys
-- Answers each living node, followed by 1 or 0 for each key. Forgets the names of dead ones.
local call = redis.call
local found = {}
for _, node in ipairs(call('SMEMBERS', KEYS[1])) do
  local holds = ARGV[1] .. node
  if call('EXISTS', holds) == 1 then
    found[#found + 1] = node
    found[#found + 1] = call('SMISMEMBER', holds, unpack(ARGV, 2))
  else
    call('SREM', KEYS[1], node)
  end
end
return found
