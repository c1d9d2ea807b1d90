-- Sums up the room for a member who looks at it from outside.
--
-- KEYS  5 up to where they have read (string)  6 who is banned (hash)
-- ARGV  4 the member's id  5 the same as JSON  6 up to how many unread messages are counted
--       7 how many of the newest messages are looked at
-- Returns nothing if nobody has been in the room, or this member may not be there. Else epoch, head, up to where they
-- have read, how many messages of others came after it, in how many of those they are spoken to, how many members are
-- there.

local member, counted = ARGV[4], tonumber(ARGV[6])
if not epoch or forbid(KEYS[6], member) then
  return false
end

-- In JSON a quote within a string has a backslash before it. So these cannot be a part of somebody's words, and what is
-- not wanted need not be parsed. cjson writes a slash with a backslash, others do not.
local as_json = { ARGV[5], cjson.encode(member) }

local function has(message, part)
  return string.find(message, part, 1, true)
end

local function says_nothing(message)
  return has(message, '"deleted":') or has(message, '"deletes":') or has(message, '"edits":') or has(message, '"reaction":')
end

local function is_own(message)
  return has(message, '"id":' .. as_json[1]) or has(message, '"id":' .. as_json[2])
end

local function speaks_to_member(message)
  if not has(message, '"mentions":') or not (has(message, as_json[1]) or has(message, as_json[2])) then
    return false
  end
  local readable, parsed = pcall(cjson.decode, message)
  for _, mentioned in ipairs(readable and parsed.mentions or {}) do
    if mentioned == member then
      return true
    end
  end
  return false
end

local read = read_up_to(KEYS[5])
local unread, mentions = 0, 0
for _, message in ipairs(redis.call('ZREVRANGEBYSCORE', messages, '+inf', '(' .. read, 'LIMIT', 0, ARGV[7])) do
  if unread == counted then
    break
  end
  if not says_nothing(message) and not is_own(message) then
    unread = unread + 1
    if speaks_to_member(message) then
      mentions = mentions + 1
    end
  end
end
return { epoch, seq, read, unread, mentions, redis.call('HLEN', members) }
