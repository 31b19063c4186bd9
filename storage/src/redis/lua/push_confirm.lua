-- Forgets notifications.
--
-- KEYS  the queue, a stream
-- ARGV  their ids
return redis.call('XDEL', KEYS[1], unpack(ARGV))
