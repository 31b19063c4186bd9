-- Removes keys from the set of a node.
--
-- KEYS  1 the keys that the node holds; 2 the names of all nodes
-- ARGV  1 the node's incarnation, or empty; 2 the prefix of all nodes' sets; then the keys
-- Returns, for a single key, 1 if no live node holds it now; otherwise 0.
local call = redis.call
if ARGV[1] == '' or call('SISMEMBER', KEYS[1], '#' .. ARGV[1]) == 1 then
  for key = 3, #ARGV do
    call('SREM', KEYS[1], ARGV[key])
  end
end
if #ARGV ~= 3 then
  return 0
end
for _, node in ipairs(call('SMEMBERS', KEYS[2])) do
  if call('SISMEMBER', ARGV[2] .. node, ARGV[3]) == 1 then
    return 0
  end
end
return 1
