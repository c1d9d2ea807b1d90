-- Takes sessions of one edge out of the room, and each member with their last session. Removes only what is
-- still that edge's.
--
-- KEYS  5 the sessions of this edge in this room (set)
-- ARGV  3 the room  4 the edge  5 one session; or empty, for up to a number of any  6 that number
-- Returns how many sessions were taken from the set.

local edge = ARGV[4]
local leaving
if ARGV[5] ~= '' then
  leaving = { ARGV[5] }
  redis.call('SREM', KEYS[5], ARGV[5])
else
  leaving = redis.call('SPOP', KEYS[5], ARGV[6])
end

local left = {}
for _, session in ipairs(leaving) do
  local member = remove_session(session, edge)
  if member then
    table.insert(left, member)
  end
end
if #left > 0 then
  publish_presence(ARGV[3], nil, left)
end
return #leaving
