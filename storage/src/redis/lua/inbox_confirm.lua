-- Forgets the entries of an inbox up to and including a position.
--
-- KEYS  the inbox, a stream; the position given last
-- ARGV  the position
-- Answers 1; 0 if the inbox is not open, or never gave that position: its server lost the tail.
local last = redis.call('GET', KEYS[2])
local position = tonumber(ARGV[1])
if not last or position > tonumber(last) then
  return 0
end
if position > 0 then
  redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f-0', position + 1))
end
return 1
