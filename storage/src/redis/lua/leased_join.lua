-- A node holds keys from now on.
--
-- KEYS  what the node holds; the names of all nodes
-- ARGV  its incarnation, or nothing if it is another process's node; what all sets of nodes begin
--       with; the keys
-- Answers -1 if its lease has ended; else, if there is one key, 1 if no living node held it; else 0.
local call = redis.call
if ARGV[1] == '' then
  if call('EXISTS', KEYS[1]) == 0 then
    return -1
  end
elseif call('SISMEMBER', KEYS[1], '#' .. ARGV[1]) == 0 then
  return -1
end
local nobody = 0
if #ARGV == 3 then
  nobody = 1
  for _, node in ipairs(call('SMEMBERS', KEYS[2])) do
    if call('SISMEMBER', ARGV[2] .. node, ARGV[3]) == 1 then
      nobody = 0
    end
  end
end
for key = 3, #ARGV do
  call('SADD', KEYS[1], ARGV[key])
end
return nobody
