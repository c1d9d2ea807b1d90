-- Finds an attachment of one of the room's messages.
--
-- KEYS  5 the attachments (hash)  6 those of messages (sorted set)
-- ARGV  4 its id
-- Returns what it is, as JSON, or an empty text; and the version of the rules.

local seq = redis.call('ZSCORE', KEYS[6], ARGV[4])
local oldest = redis.call('ZRANGE', messages, 0, 0, 'WITHSCORES')[2]
if not seq or not oldest or tonumber(seq) < tonumber(oldest) then
  return { '', rules }
end
return { string.match(redis.call('HGET', KEYS[5], ARGV[4]) or '', '^%S+ (.*)$') or '', rules }
