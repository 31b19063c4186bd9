-- A node holds keys no more.
--
-- KEYS  what the node holds; the names of all nodes
-- ARGV  its incarnation, or nothing; what all sets of nodes begin with; the keys
-- Answers, if there is one key, 1 if no living node holds it now; else 0.
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
