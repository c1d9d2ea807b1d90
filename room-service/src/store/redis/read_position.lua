-- Moves the position up to where a member has read, never back and never beyond the newest message, and tells their
-- other sessions in the room.
--
-- KEYS  5 the position (string)  6 who is banned (hash)
-- ARGV  4 the seq  5 the member's id  6 the session that has read, or empty  7 for how many milliseconds it is kept
--       8 what is told, as JSON from the first brace on, without the numbers and the last braces
-- Returns the epoch (empty if nobody has been in the room) and up to where they have read.

local refusal = forbid(KEYS[6], ARGV[5])
if refusal then
  return refusal
end
if not epoch then
  return { '', 0 }
end

local before = read_up_to(KEYS[5])
local now = math.max(before, math.min(tonumber(ARGV[4]), seq))
local there = redis.call('ZRANGEBYSCORE', messages, now, now)[1]
-- A message that is not kept any more, or that nobody can read, proves nothing later.
local readable, id = pcall(function()
  return cjson.decode(there).id
end)
redis.call('SET', KEYS[5], epoch .. ' ' .. now .. ' ' .. (readable and id or ''), 'PX', ARGV[7])
if now > before then
  local others = tonumber(redis.call('HGET', sessions, ARGV[5]) or 0) - redis.call('HEXISTS', sessions, ARGV[6])
  -- Mostly there are none, and nobody need hear it.
  if others > 0 then
    publish(ARGV[8] .. ',"epoch":"' .. epoch .. '","seq":' .. now .. '}}')
  end
end
return { epoch, now }
