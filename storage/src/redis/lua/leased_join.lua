-- Adds keys to the set of a node.
--
-- KEYS  1 the keys that the node holds; 2 the names of all nodes
-- ARGV  1 the node's incarnation, empty if another process registered the node; 2 the prefix of all
--       nodes' sets; then the keys
-- Returns -1 if the lease has ended; for a single key 1 if no live node held it; otherwise 0.
local call = redis.call
if ARGV[1] == '' then
  if call('EXISTS', KEYS[1]) == 0 then
    return -1
  end
elseif call('SISMEMBER', KEYS[1], '#' .. ARGV[1]) == 0 then
  return -1
end
local was_free = 0
if #ARGV == 3 then
  was_free = 1
  for _, node in ipairs(call('SMEMBERS', KEYS[2])) do
    if call('SISMEMBER', ARGV[2] .. node, ARGV[3]) == 1 then
      was_free = 0
    end
  end
end
for key = 3, #ARGV do
  call('SADD', KEYS[1], ARGV[key])
end
return was_free
