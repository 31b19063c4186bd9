-- Puts as many deliveries into the inbox of a node as there is room for, in order.
--
-- KEYS  the inbox, a stream; the position given last
-- ARGV  how many entries the inbox may hold; the deliveries
-- Answers how many were put in; -1 if the inbox is not open.
local last = redis.call('GET', KEYS[2])
if not last then
  return -1
end
local room = tonumber(ARGV[1]) - redis.call('XLEN', KEYS[1])
local count = math.min(room, #ARGV - 1)
if count <= 0 then
  return 0
end
local time = redis.call('TIME')
local position = math.max(tonumber(last), tonumber(time[1]) * 1000000 + tonumber(time[2]))
for delivery = 2, count + 1 do
  position = position + 1
  redis.call('XADD', KEYS[1], string.format('%.0f-0', position), 'd', ARGV[delivery])
end
redis.call('SET', KEYS[2], string.format('%.0f', position))
return count
