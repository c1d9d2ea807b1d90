-- Takes sessions of one edge out of the room, and each member with their last session. Removes only what is
-- still that edge's.
--
-- KEYS  5 the sessions of this edge in this room (set)
-- ARGV  4 the room  5 the edge  6 one session; or empty, for up to a number of any  7 that number
-- Returns how many sessions were taken from the set, and how many are left in it.

local edge = ARGV[5]
local leaving
if ARGV[6] ~= '' then
  leaving = { ARGV[6] }
  redis.call('SREM', KEYS[5], ARGV[6])
else
  leaving = redis.call('SPOP', KEYS[5], ARGV[7])
end

local left = {}
for _, session in ipairs(leaving) do
  local member = remove_session(session, edge)
  if member then
    table.insert(left, member)
  end
end
if #left > 0 then
  publish_presence(ARGV[4], nil, left)
end
return { #leaving, redis.call('SCARD', KEYS[5]) }
