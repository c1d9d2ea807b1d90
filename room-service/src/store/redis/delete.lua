-- Leaves a tombstone in the place of a message, and adds a message that says so.
--
-- ARGV  4 the room  5 the message's seq  6 its id, or empty  7 the id of what says so  8 the most messages to keep
-- Returns the epoch and the tombstone as JSON, or nothing if there is no such message.

local there = redis.call('ZRANGEBYSCORE', messages, ARGV[5], ARGV[5])[1]
if not there then
  return {}
end
local readable, message = pcall(cjson.decode, there)
if not readable then
  -- Whatever it is, it goes, and the numbers stay whole.
  message = { seq = tonumber(ARGV[5]), room = ARGV[4] }
end
if message.deletes or (ARGV[6] ~= '' and message.id ~= ARGV[6]) then
  return {}
end
if message.deleted then
  -- Something that replicas and disks are told of, so that who waits for them waits for all that came before it too.
  redis.call('HSET', meta, 'seq', seq)
  return { epoch, there }
end
message.text = nil
message.deleted = true
local tombstone = cjson.encode(message)
redis.call('ZREM', messages, there)
redis.call('ZADD', messages, ARGV[5], tombstone)
local deletion = keep(ARGV[7], '"room":"' .. ARGV[4] .. '","deletes":' .. ARGV[5] .. '}', ARGV[8])
tell(deletion)
return { epoch, tombstone }
