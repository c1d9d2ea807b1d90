-- Numbers a message, keeps it, trims the room and publishes it.
--
-- KEYS  5 what was answered to this member's client_id  6 who is banned (hash)
--       if something is attached: 7 what attachments there are (hash)  8 which are not sent  9 which are (sorted sets)
-- ARGV  4 the room  5 the message's id  6 its other fields as JSON, from the first name to the closing brace
--       7 the most messages to keep  8 for how many milliseconds a repeat is answered
--       9 the member's id  10 the traceparent of a message that is traced, or empty
--       11 the seq of the message that it answers, or 0  12 its id  13… the ids of what is attached; of these only as many
--         as are needed

go_on()

local before = answered(KEYS[5])
if before then
  return before
end

local refusal = forbid(KEYS[6], ARGV[9])
if refusal then
  return refusal
end
if (ARGV[11] or '0') ~= '0' and not find(ARGV[11], ARGV[12]) then
  return redis.error_reply('WRONGMESSAGE unanswerable')
end

local attached = {}
for i = 13, #ARGV do
  local member, what = string.match(redis.call('HGET', KEYS[7], ARGV[i]) or '', '^(%S+) (.*)$')
  if member ~= ARGV[9] or not redis.call('ZSCORE', KEYS[8], ARGV[i]) then
    return redis.error_reply('NOSUCHUPLOAD of this member')
  end
  table.insert(attached, what)
end

local id, fields = ARGV[5], ARGV[6]
if attached[1] then
  fields = '"attachments":[' .. table.concat(attached, ',') .. '],' .. fields
end
local message, at = keep(id, fields, ARGV[7])
for i = 13, #ARGV do
  redis.call('ZREM', KEYS[8], ARGV[i])
  redis.call('ZADD', KEYS[9], seq, ARGV[i])
end
note_answer(KEYS[5], id, at, ARGV[8])
tell(message, ARGV[10])
return { epoch, seq, id, at, 0 }
