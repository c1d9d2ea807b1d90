-- Keeps an edge's lease, or begins one.
--
-- KEYS  1 the leases (sorted set: edge -> when it lapses, in milliseconds of Redis' own clock)
-- ARGV  1 the edge  2 for how many milliseconds
-- Returns 1 if it was held, 0 if it begins, -1 while the edge's sessions are being removed.

if redis.call('ZSCORE', KEYS[1], 'reaping ' .. ARGV[1]) then
  return -1
end
local held = redis.call('ZSCORE', KEYS[1], ARGV[1])
local now = redis.call('TIME')
redis.call('ZADD', KEYS[1], now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[2], ARGV[1])
return held and 1 or 0
