-- Registers a node with an empty set and a new lease.
--
-- KEYS  1 the keys that the node holds, a set whose expiry is the node's lease; 2 the names of all
--       nodes
-- ARGV  1 the node; 2 its incarnation; 3 its lease in milliseconds
redis.call('DEL', KEYS[1])
redis.call('SADD', KEYS[1], '#' .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('SADD', KEYS[2], ARGV[1])
return 1
