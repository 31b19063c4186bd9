-- Opens the inbox of a node, if it is not open.
--
-- KEYS  the inbox, a stream; the position given last, which is there while the inbox is open
--
-- Positions are at least the server's microseconds, so that they rise over an inbox that was
-- forgotten, and over one that lost its tail with its server.
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
