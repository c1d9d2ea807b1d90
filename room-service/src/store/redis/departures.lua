-- Reads who left after a version of the roster and is not back.
--
-- KEYS  5 who left (sorted set)
-- ARGV  4 the epoch of that version  5 the version
-- Returns whether this is proved, and their ids.

local version = tonumber(ARGV[5])
if ARGV[4] ~= epoch or version > roster then
  return { 0, {} }
end
-- Since the last departure nobody left, whatever is forgotten.
if version >= tonumber(redis.call('HGET', meta, 'left') or 0) then
  return { 1, {} }
end
local forgotten = redis.call('ZSCORE', KEYS[5], '')
if not forgotten or version < tonumber(forgotten) then
  return { 0, {} }
end
return { 1, redis.call('ZRANGEBYSCORE', KEYS[5], '(' .. ARGV[5], '+inf') }
