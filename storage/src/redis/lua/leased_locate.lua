-- Finds the live nodes that hold keys.
--
-- KEYS  1 the names of all nodes
-- ARGV  1 the prefix of all nodes' sets; then the keys
-- Returns each live node, followed by a 1 or 0 for each key. Removes the names of dead nodes.
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
