-- Puts a session into the room, and its member with their first session.
--
-- KEYS  5 the sessions of this edge in this room (set)
-- ARGV  3 the room  4 the session  5 the member's id  6 the member as JSON  7 the edge

local session, member, edge = ARGV[4], ARGV[5], ARGV[7]
if not redis.call('HGET', sessions, session) then
  redis.call('HINCRBY', sessions, member, 1)
end
redis.call('HSET', sessions, session, member .. ' ' .. edge)
redis.call('SADD', KEYS[5], session)
local new_member = redis.call('HSET', members, member, ARGV[6])
if new_member == 1 then
  publish_presence(ARGV[3], ARGV[6], nil)
end
return { epoch, seq, roster, new_member }
