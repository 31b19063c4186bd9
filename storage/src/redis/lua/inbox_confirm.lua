-- Removes the entries of an inbox up to and including a position.
--
-- KEYS  1 the inbox, a stream; 2 the last position given
-- ARGV  1 the position
-- Returns 1; 0 if the inbox is not open or never gave that position, because its server lost the
-- tail.
local last = redis.call('GET', KEYS[2])
local position = tonumber(ARGV[1])
if not last or position > tonumber(last) then
  return 0
end
if position > 0 then
  redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f-0', position + 1))
end
return 1
