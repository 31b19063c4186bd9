-- A node is alive for a while.
--
-- KEYS  when each node's lease ends, a sorted set by the server's milliseconds; what each node is
-- ARGV  the node; what it is; its lease in milliseconds
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[3])), ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
return 1
