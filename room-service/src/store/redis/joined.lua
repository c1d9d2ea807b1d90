-- Notes a room among those that a member joined lately.
--
-- KEYS  1 the rooms (sorted set: room -> when it was joined last)
-- ARGV  1 the room  2 how many are kept  3 for how many milliseconds they are, after the last join

local now = redis.call('TIME')
redis.call('ZADD', KEYS[1], string.format('%.0f', now[1] * 1000000 + now[2]), ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -tonumber(ARGV[2]) - 1)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
