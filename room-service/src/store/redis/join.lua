-- Puts a session into the room, and its member with their first session.
--
-- KEYS  5 the sessions of this edge in this room (set)
-- ARGV  4 the room  5 the session  6 the member's id  7 the member as JSON  8 the edge
-- Returns epoch, head, roster version, whether the member is new, whether no other session of the edge is in the room.

go_on()

local session, member, edge = ARGV[5], ARGV[6], ARGV[8]
if not redis.call('HGET', sessions, session) then
  redis.call('HINCRBY', sessions, member, 1)
end
redis.call('HSET', sessions, session, member .. ' ' .. edge)
redis.call('SADD', KEYS[5], session)
local new_member = redis.call('HSET', members, member, ARGV[7])
if new_member == 1 then
  publish_presence(ARGV[4], ARGV[7], nil)
end
return { epoch, seq, roster, new_member, redis.call('SCARD', KEYS[5]) == 1 and 1 or 0 }
