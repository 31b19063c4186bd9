-- The lease of a partition.
--
-- KEYS  the owners, a hash of partition -> <node> <epoch> <the server's milliseconds of its end>
-- ARGV  acquire, renew, release or owner; the partition; the node; its epoch; the lease in
--       milliseconds
-- Answers  acquire: the epoch, or 0 if another node holds it; renew: 1, or 0 if it was lost;
--          owner: its name, if there is one
--
-- An epoch is at least the server's milliseconds, so that it rises even if the server lost the last
-- one.
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
