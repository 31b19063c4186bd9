-- Returns the time of the server.
--
-- KEYS  1 any key, whose server is asked
-- Returns the seconds since the Unix epoch, as text.
return redis.call('TIME')[1]
