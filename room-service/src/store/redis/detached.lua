-- Detaches the attachments of messages that are forgotten and those that were not sent in time, and gives a part of all
-- that are detached.
--
-- KEYS  5 the attachments (hash)  6 those that are not sent (sorted set)  7 those of messages (sorted set)
--       8 those that are detached (set)
-- ARGV  4 how many to give at most  5… those whose files are gone
-- Returns their ids.

for i = 5, #ARGV do
  redis.call('SREM', KEYS[8], ARGV[i])
end

local function detach(from, top)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', from, '-inf', top, 'LIMIT', 0, ARGV[4])) do
    redis.call('SADD', KEYS[8], id)
    redis.call('HDEL', KEYS[5], id)
    redis.call('ZREM', from, id)
  end
end

detach(KEYS[6], milliseconds())
local oldest = redis.call('ZRANGE', messages, 0, 0, 'WITHSCORES')[2]
detach(KEYS[7], oldest and '(' .. oldest or '+inf')
return redis.call('SRANDMEMBER', KEYS[8], ARGV[4])
