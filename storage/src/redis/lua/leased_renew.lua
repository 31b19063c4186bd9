-- Extends the lease of a node.
--
-- KEYS  1 the keys that the node holds
-- ARGV  1 its incarnation; 2 its lease in milliseconds
-- Returns 0 if the lease has ended or another process registered the node.
if redis.call('SISMEMBER', KEYS[1], '#' .. ARGV[1]) == 0 then
  return 0
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
