-- Reads who left after a version of the roster and is not back.
--
-- KEYS  5 who left (sorted set)
-- ARGV  4 the epoch of that version  5 the version
-- Returns whether these are proved to be all, and their ids. If not, all that are remembered.

local version = tonumber(ARGV[5])
if ARGV[4] == epoch and version <= roster then
  -- Since the last departure nobody left, whatever is forgotten.
  if version >= tonumber(redis.call('HGET', meta, 'left') or 0) then
    return { 1, {} }
  end
  local forgotten = redis.call('ZSCORE', KEYS[5], '')
  if forgotten and version >= tonumber(forgotten) then
    return { 1, redis.call('ZRANGEBYSCORE', KEYS[5], '(' .. ARGV[5], '+inf') }
  end
end
local remembered = {}
for _, member in ipairs(redis.call('ZRANGE', KEYS[5], 0, -1)) do
  if member ~= '' then
    table.insert(remembered, member)
  end
end
return { 0, remembered }
