-- Closes the inbox of a node and removes what is in it. An entry that says so stays for a minute:
-- it wakes whoever waits for entries, which a removal would not.
--
-- KEYS  the inbox, a stream; the position given last
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
