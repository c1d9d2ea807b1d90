-- Keeps what a file is that a member brings to the room, until it is sent.
--
-- KEYS  5 the attachments (hash)  6 those that are not sent (sorted set)  7 who is banned (hash)
-- ARGV  4 the member's id  5 the attachment's id  6 what it is, as JSON  7 for how many milliseconds it may stay unsent

local refusal = forbid(KEYS[7], ARGV[4])
if refusal then
  return refusal
end
redis.call('HSET', KEYS[5], ARGV[5], ARGV[4] .. ' ' .. ARGV[6])
redis.call('ZADD', KEYS[6], milliseconds() + ARGV[7], ARGV[5])
return 1
