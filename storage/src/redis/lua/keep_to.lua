-- How many partitions channels are divided into.
--
-- KEYS  their number
-- ARGV  the number of who asks, which stands if there was none
-- Answers the number that stands.
return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'GET') or ARGV[1]
