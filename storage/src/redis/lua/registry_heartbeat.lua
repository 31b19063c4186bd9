-- Registers a node for the length of a lease.
--
-- KEYS  1 the end of each node's lease, a sorted set of the server's milliseconds; 2 the
--       announcement of each node
-- ARGV  1 the node; 2 its announcement; 3 its lease in milliseconds
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[3])), ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
return 1
