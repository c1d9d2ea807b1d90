-- The beginning of a script that adds to a room's messages, after room.lua.

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

-- Numbers a message with this id and these other fields (JSON, from the first name to the closing brace), keeps it, and
-- forgets the oldest beyond so many: a hundredth of them at a time, so that not each message pays for looking. Returns it
-- as JSON, and when it was kept.
local function keep(id, fields, most)
  -- The last number is a uint32's.
  if seq >= 4294967295 then
    redis.call('DEL', messages)
    begin_epoch(1)
  end
  -- Never earlier than the message before, whatever the clock does.
  local at = math.max(milliseconds(), newest_at)
  -- Lua prints a number with up to 14 digits, which is enough for a seq (10) and a moment (13).
  seq = seq + 1
  local message = '{"seq":' .. seq .. ',"id":"' .. id .. '","sent_at":"' .. rfc3339(at) .. '",' .. fields
  redis.call('ZADD', messages, seq, message)
  redis.call('HSET', meta, 'seq', seq, 'at', at)
  if seq % math.max(1, math.floor(most / 100)) == 0 then
    redis.call('ZREMRANGEBYRANK', messages, 0, -tonumber(most) - 1)
  end
  return message, at
end

-- Tells of a message that was kept.
local function tell(message)
  publish('{"message":{"epoch":"' .. epoch .. '",' .. string.sub(message, 2) .. '}')
end
