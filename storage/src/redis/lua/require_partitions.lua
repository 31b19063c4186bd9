-- Records the number of partitions, or returns the recorded one.
--
-- KEYS  1 the number of partitions
-- ARGV  1 the caller's number, which is stored if there is none
-- Returns the stored number.
return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'GET') or ARGV[1]
