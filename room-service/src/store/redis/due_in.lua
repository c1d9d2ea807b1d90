-- Says when a room's attachments are to be looked through.
--
-- KEYS  1 when each room is due (sorted set)
-- ARGV  1 the room  2 in how many milliseconds

local now = redis.call('TIME')
redis.call('ZADD', KEYS[1], now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[2], ARGV[1])
return 1
