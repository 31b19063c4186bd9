-- Appends deliveries to the inbox of a node, in order, up to its capacity.
--
-- KEYS  1 the inbox, a stream; 2 the last position given
-- ARGV  1 the capacity of the inbox in entries; then the deliveries
-- Returns how many were appended; -1 if the inbox is not open.
local last = redis.call('GET', KEYS[2])
if not last then
  return -1
end
local free = tonumber(ARGV[1]) - redis.call('XLEN', KEYS[1])
local count = math.min(free, #ARGV - 1)
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
