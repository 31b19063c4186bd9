-- Opens the inbox of a node if it is not open.
--
-- KEYS  1 the inbox, a stream; 2 the last position given, which exists while the inbox is open
--
-- A position is at least the server's clock in microseconds. So positions rise over a removed
-- inbox, and over one that lost its tail with its server.
if redis.call('EXISTS', KEYS[2]) == 1 then
  return 0
end
local time = redis.call('TIME')
local position = tonumber(time[1]) * 1000000 + tonumber(time[2])
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if #last > 0 then
  position = math.max(position, tonumber(string.match(last[1][1], '^%d+')))
end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[2], string.format('%.0f', position))
return 1
