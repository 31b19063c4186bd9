-- Acquires, renews, releases or reads the lease of a partition.
--
-- KEYS  1 the owners, a hash of partition -> <node> <epoch> <end of the lease in the server's
--       milliseconds>
-- ARGV  1 acquire, renew, release or owner; 2 the partition; 3 the node; 4 its epoch; 5 the lease
--       in milliseconds
-- Returns  acquire: the epoch, or 0 if another node holds the lease; renew: 1, or 0 if the lease is
-- lost; owner: the node's name, if there is one
--
-- An epoch is at least the server's clock in milliseconds, so it rises even if the server lost the
-- last epoch.
local call = redis.call
local what, partition, node = ARGV[1], ARGV[2], ARGV[3]
local time = call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local owner, epoch, ends = nil, 0, 0
local held = call('HGET', KEYS[1], partition)
if held then
  owner, epoch, ends = string.match(held, '^(%S+) (%d+) (%d+)$')
  epoch, ends = tonumber(epoch), tonumber(ends)
end
local lives = ends > now

local function set(epoch, ends)
  call('HSET', KEYS[1], partition, string.format('%s %.0f %.0f', node, epoch, ends))
end

if what == 'owner' then
  return lives and owner
end
if what == 'acquire' then
  if lives and owner ~= node then
    return '0'
  end
  if not lives then
    epoch = math.max(epoch + 1, now)
  end
  set(epoch, now + tonumber(ARGV[5]))
  return string.format('%.0f', epoch)
end
if not lives or owner ~= node or epoch ~= tonumber(ARGV[4]) then
  return '0'
end
set(epoch, what == 'renew' and now + tonumber(ARGV[5]) or 0)
return '1'
