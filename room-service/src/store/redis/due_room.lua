-- Finds a room whose attachments are to be looked through, and gives it to one who asks. If that one dies, it is due again.
--
-- KEYS  1 when each room is due (sorted set)
-- ARGV  1 for how many milliseconds it is one's
-- Returns the room, or nothing.

local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local room = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1)[1]
if room then
  redis.call('ZADD', KEYS[1], now + ARGV[1], room)
end
return room or false
