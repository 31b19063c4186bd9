-- A node begins anew, with nothing.
--
-- KEYS  what the node holds, a set whose expiry is the node's lease; the names of all nodes
-- ARGV  the node; its incarnation; its lease in milliseconds
redis.call('DEL', KEYS[1])
redis.call('SADD', KEYS[1], '#' .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('SADD', KEYS[2], ARGV[1])
return 1
