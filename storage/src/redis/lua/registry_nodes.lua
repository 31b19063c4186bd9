-- Returns the announcement of each live node. Removes dead nodes.
--
-- KEYS  1 the end of each node's lease; 2 the announcement of each node
local call = redis.call
local time = call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
for _, node in ipairs(call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))) do
  call('ZREM', KEYS[1], node)
  call('HDEL', KEYS[2], node)
end
return call('HVALS', KEYS[2])
