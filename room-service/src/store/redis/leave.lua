-- Takes sessions of one edge out of the room, and each member with their last session. Removes only what is
-- still that edge's.
--
-- KEYS  5 the sessions of this edge in this room (set)  6 who left (sorted set)
-- ARGV  4 the room  5 for how many milliseconds it is remembered who left
--       6 the edge  7 one session; or empty, for up to a number of any  8 that number
--       9 how many departures are remembered
-- Returns how many sessions were taken from the set, and how many are left in it.

-- It fails here, before the first write, if it is no sorted set.
redis.call('ZCARD', KEYS[6])

-- Remembers who leaves with the next version of the roster. Under the empty name the set has the version up to which
-- departures are forgotten, so that it is there as long as nothing expired, even if all are back.
local function remember(left)
  local log, version = KEYS[6], roster + 1
  redis.call('ZADD', log, 'NX', redis.call('HGET', meta, 'left') or 0, '')
  for _, member in ipairs(left) do
    redis.call('ZADD', log, version, member)
  end
  local too_many = redis.call('ZCARD', log) - 1 - ARGV[9]
  if too_many > 0 then
    -- The empty name has the lowest score, and goes with them.
    local forgotten = redis.call('ZPOPMIN', log, too_many + 1)
    redis.call('ZADD', log, forgotten[#forgotten], '')
  end
  redis.call('PEXPIRE', log, ARGV[5])
  redis.call('HSET', meta, 'left', version)
end

local edge = ARGV[6]
local leaving
if ARGV[7] ~= '' then
  leaving = { ARGV[7] }
  redis.call('SREM', KEYS[5], ARGV[7])
else
  leaving = redis.call('SPOP', KEYS[5], ARGV[8])
end

local left = {}
for _, session in ipairs(leaving) do
  local member = remove_session(session, edge)
  if member then
    table.insert(left, member)
  end
end
if #left > 0 then
  remember(left)
  publish_presence(ARGV[4], nil, left)
end
return { #leaving, redis.call('SCARD', KEYS[5]) }
