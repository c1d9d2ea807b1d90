-- Finds an edge whose lease has lapsed and claims its removal. If the claimant dies, its claim lapses likewise.
--
-- KEYS  1 the leases (sorted set)
-- ARGV  1 for how many milliseconds the claim holds
-- Returns the edge, or nothing.

local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local lapsed = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1)[1]
if not lapsed then
  return false
end
local edge = string.gsub(lapsed, '^reaping ', '')
local claim = 'reaping ' .. edge
-- First what a full Redis refuses: leases cannot be renewed then, so nobody may be removed.
redis.call('ZADD', KEYS[1], now + ARGV[1], claim)
if lapsed ~= claim then
  redis.call('ZREM', KEYS[1], lapsed)
end
return edge
