-- Appends notifications to the push queue, all or none.
--
-- KEYS  1 the queue, a stream; 2 the last position given
-- ARGV  1 the capacity of the queue in notifications; then the notifications
-- Returns 0 if they do not fit. A position is at least the server's clock in microseconds, see
-- inbox_open.lua.
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
