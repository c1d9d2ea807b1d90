-- Says when a room's attachments are to be looked through. What is to be done later does not undo what was noted
-- meanwhile: that is due by now, while a claim is not.
--
-- KEYS  1 when each room is due (sorted set)
-- ARGV  1 the room  2 in how many milliseconds

local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local due, after = redis.call('ZSCORE', KEYS[1], ARGV[1]), tonumber(ARGV[2])
if after == 0 or not due or tonumber(due) > now then
  redis.call('ZADD', KEYS[1], now + after, ARGV[1])
end
return 1
