-- Closes the inbox of a node and removes its entries. A closing entry stays for a minute: it wakes
-- blocked readers, which a removal does not.
--
-- KEYS  1 the inbox, a stream; 2 the last position given
local last = redis.call('GET', KEYS[2])
if not last then
  return 0
end
local time = redis.call('TIME')
local position = math.max(tonumber(last), tonumber(time[1]) * 1000000 + tonumber(time[2])) + 1
redis.call('DEL', KEYS[2])
redis.call('XTRIM', KEYS[1], 'MAXLEN', 0)
redis.call('XADD', KEYS[1], string.format('%.0f-0', position), 'closed', '')
redis.call('PEXPIRE', KEYS[1], 60000)
return 1
