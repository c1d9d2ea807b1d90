-- Numbers a message, keeps it, trims the room and publishes it.
--
-- KEYS  5 what was answered to this member's client_id
-- ARGV  4 the room  5 the message's id  6 its other fields as JSON, from the first name to the closing brace
--       7 the most messages to keep  8 for how many milliseconds a repeat is answered

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

-- The last number is a uint32's.
if seq >= 4294967295 then
  redis.call('DEL', messages)
  begin_epoch(1)
end

-- Never earlier than the message before, whatever the clock does.
local now = redis.call('TIME')
local at = math.max(now[1] * 1000 + math.floor(now[2] / 1000), tonumber(redis.call('HGET', meta, 'at') or 0))

-- RFC 3339. Days to a date: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
local function rfc3339(ms)
  local days = math.floor(ms / 86400000) + 719468
  local era = math.floor(days / 146097)
  local day_of_era = days - era * 146097
  local year_of_era = math.floor((day_of_era - math.floor(day_of_era / 1460) + math.floor(day_of_era / 36524)
    - math.floor(day_of_era / 146096)) / 365)
  local day_of_year = day_of_era - (365 * year_of_era + math.floor(year_of_era / 4) - math.floor(year_of_era / 100))
  local shifted_month = math.floor((5 * day_of_year + 2) / 153)
  local day = day_of_year - math.floor((153 * shifted_month + 2) / 5) + 1
  local month = shifted_month < 10 and shifted_month + 3 or shifted_month - 9
  local year = year_of_era + era * 400 + (month <= 2 and 1 or 0)
  local second = math.floor(ms / 1000) % 86400
  return string.format('%04d-%02d-%02dT%02d:%02d:%02d.%03dZ', year, month, day, math.floor(second / 3600),
    math.floor(second / 60) % 60, second % 60, ms % 1000)
end

-- Lua prints a number with up to 14 digits, which is enough for a seq (10) and a moment (13).
seq = seq + 1
local id = ARGV[5]
local message = '{"seq":' .. seq .. ',"id":"' .. id .. '","sent_at":"' .. rfc3339(at) .. '",'
  .. ARGV[6]

redis.call('ZADD', messages, seq, message)
redis.call('HSET', meta, 'seq', seq, 'at', at)
redis.call('ZREMRANGEBYRANK', messages, 0, -tonumber(ARGV[7]) - 1)
redis.call('SET', KEYS[5], epoch .. ' ' .. seq .. ' ' .. id .. ' ' .. at, 'PX', ARGV[8])
publish('{"message":{"epoch":"' .. epoch .. '",' .. string.sub(message, 2) .. '}')
return { epoch, seq, id, at, 0 }
