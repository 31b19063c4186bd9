-- Removes notifications.
--
-- KEYS  1 the queue, a stream
-- ARGV  the ids of the notifications
return redis.call('XDEL', KEYS[1], unpack(ARGV))
