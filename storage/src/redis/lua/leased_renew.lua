-- Extends the lease of a node.
--
-- KEYS  what the node holds
-- ARGV  its incarnation; its lease in milliseconds
-- Answers 0 if the lease has ended, or another process has begun to be this node.
if redis.call('SISMEMBER', KEYS[1], '#' .. ARGV[1]) == 0 then
  return 0
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
