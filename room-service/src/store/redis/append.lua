-- Numbers a message, keeps it, trims the room and publishes it.
--
-- KEYS  5 what was answered to this member's client_id  6 who is banned (hash)
-- ARGV  4 the room  5 the message's id  6 its other fields as JSON, from the first name to the closing brace
--       7 the most messages to keep  8 for how many milliseconds a repeat is answered
--       9 the member's id

go_on()

local answered = redis.call('GET', KEYS[5])
if answered then
  local first_epoch, first_seq, first_id, first_at = string.match(answered, '^(%S+) (%d+) (%S+) (%d+)$')
  -- What was kept under an older epoch and outlived it bears its number in this one.
  local still = redis.call('ZRANGEBYSCORE', messages, first_seq, first_seq)[1]
  if still and string.find(still, '"id":"' .. first_id .. '"', 1, true) then
    first_epoch = epoch
  end
  -- Something that replicas and disks are told of, so that who waits for them waits for all that came before it too.
  redis.call('PEXPIRE', KEYS[5], redis.call('PTTL', KEYS[5]))
  return { first_epoch, tonumber(first_seq), first_id, tonumber(first_at), 1 }
end

local refusal = forbid(KEYS[6], ARGV[9])
if refusal then
  return refusal
end

local id = ARGV[5]
local message, at = keep(id, ARGV[6], ARGV[7])
redis.call('SET', KEYS[5], epoch .. ' ' .. seq .. ' ' .. id .. ' ' .. at, 'PX', ARGV[8])
tell(message)
return { epoch, seq, id, at, 0 }
