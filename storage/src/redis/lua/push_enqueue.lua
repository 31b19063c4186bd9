-- Puts notifications at the end of the push queue, all or none.
--
-- KEYS  the queue, a stream; the position given last
-- ARGV  how many notifications the queue may hold; the notifications
-- Answers 0 if they do not fit. Positions are at least the server's microseconds, see inbox_open.lua.
if redis.call('XLEN', KEYS[1]) + #ARGV - 1 > tonumber(ARGV[1]) then
  return 0
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local position = math.max(tonumber(redis.call('GET', KEYS[2]) or 0), now)
for notification = 2, #ARGV do
  position = position + 1
  redis.call('XADD', KEYS[1], string.format('%.0f-0', position), 'n', ARGV[notification])
end
redis.call('SET', KEYS[2], string.format('%.0f', position))
return 1
