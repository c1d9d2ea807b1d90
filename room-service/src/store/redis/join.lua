-- Puts a session into the room, and its member with their first session.
--
-- KEYS  5 the sessions of this edge in this room (set)  6 who left (sorted set)
--       7 who is banned (hash)  8 up to where the member has read (string)
-- ARGV  4 the room  5 for how many milliseconds it is remembered who left
--       6 the session  7 the member's id  8 the member as JSON  9 the edge
-- Returns epoch, head, roster version, whether the member is new, whether no other session of the edge is in the room,
-- version of the rules, up to where the member has read.

-- It fails here, before the first write, if it is no sorted set.
redis.call('ZCARD', KEYS[6])
local refusal = forbid(KEYS[7], ARGV[7])
if refusal then
  return refusal
end
go_on()
local read = read_up_to(KEYS[8])

local session, member, edge = ARGV[6], ARGV[7], ARGV[9]
if not redis.call('HGET', sessions, session) then
  redis.call('HINCRBY', sessions, member, 1)
end
redis.call('HSET', sessions, session, member .. ' ' .. edge)
redis.call('SADD', KEYS[5], session)
local new_member = redis.call('HSET', members, member, ARGV[8])
if new_member == 1 then
  if redis.call('ZREM', KEYS[6], member) == 1 then
    redis.call('PEXPIRE', KEYS[6], ARGV[5])
  end
  publish_presence(ARGV[4], ARGV[8], nil)
end
return { epoch, seq, roster, new_member, redis.call('SCARD', KEYS[5]) == 1 and 1 or 0, rules, read }
