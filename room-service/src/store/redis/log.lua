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

-- Tells of a message that was kept; and at the very end, if it is traced, which span tells of it.
local function tell(message, traceparent)
  if traceparent and traceparent ~= '' then
    message = string.sub(message, 1, -2) .. ',"traceparent":"' .. traceparent .. '"}'
  end
  publish('{"message":{"epoch":"' .. epoch .. '",' .. string.sub(message, 2) .. '}')
end

-- What was answered to a member's client_id (a key), if it came before.
local function answered(key)
  local answer = redis.call('GET', key)
  if not answer then
    return nil
  end
  local first_epoch, first_seq, first_id, first_at = string.match(answer, '^(%S+) (%d+) (%S+) (%d+)$')
  -- What was kept under an older epoch and outlived it bears its number in this one.
  local still = redis.call('ZRANGEBYSCORE', messages, first_seq, first_seq)[1]
  if still and string.find(still, '"id":"' .. first_id .. '"', 1, true) then
    first_epoch = epoch
  end
  -- Something that replicas and disks are told of, so that who waits for them waits for all that came before it too.
  redis.call('PEXPIRE', key, redis.call('PTTL', key))
  return { first_epoch, tonumber(first_seq), first_id, tonumber(first_at), 1 }
end

-- Notes for so many milliseconds what is answered.
local function note_answer(key, id, at, millis)
  redis.call('SET', key, epoch .. ' ' .. seq .. ' ' .. id .. ' ' .. at, 'PX', millis)
end

-- The message with this seq and this id (empty: any), decoded and as it is kept; nothing if there is none, or it is a
-- change.
local function find(at, id)
  local there = redis.call('ZRANGEBYSCORE', messages, at, at)[1]
  if not there then
    return nil
  end
  local readable, message = pcall(cjson.decode, there)
  if not readable or type(message) ~= 'table' or not message.seq then
    -- Whatever it is, an operator may delete it, and the numbers stay whole.
    message = { seq = tonumber(at), room = ARGV[4] }
  end
  local is_change = message.deletes or message.edits or message.reaction
  if not is_change and (id == '' or message.id == id) then
    return message, there
  end
end
