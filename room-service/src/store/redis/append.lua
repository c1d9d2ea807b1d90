-- Numbers a message, keeps it, trims the room and publishes it.
--
-- KEYS  5 what was answered to this member's client_id  6 who is banned (hash)
-- ARGV  4 the room  5 the message's id  6 its other fields as JSON, from the first name to the closing brace
--       7 the most messages to keep  8 for how many milliseconds a repeat is answered
--       9 the member's id  10 the traceparent of a message that is traced, or empty
--       for a reply: 11 the seq of the message that it answers  12 its id

go_on()

local before = answered(KEYS[5])
if before then
  return before
end

local refusal = forbid(KEYS[6], ARGV[9])
if refusal then
  return refusal
end
if ARGV[11] and not find(ARGV[11], ARGV[12]) then
  return redis.error_reply('WRONGMESSAGE unanswerable')
end

local id = ARGV[5]
local message, at = keep(id, ARGV[6], ARGV[7])
note_answer(KEYS[5], id, at, ARGV[8])
tell(message, ARGV[10])
return { epoch, seq, id, at, 0 }
