-- Changes a kept message, and adds a message that says so: an edit, a deletion or a reaction.
--
-- KEYS  5 what was answered to this member's client_id  6 who is banned (hash); neither for an operator
--       the last four: what attachments there are (hash), which are not sent, which are (sorted sets), which are detached
--       (set)
-- ARGV  4 the room  5 the message's seq  6 its id, or empty
--       7 the change's id  8 its other fields as JSON, from the first name to the closing brace
--       9 the most messages to keep  10 for how many milliseconds a repeat is answered
--       11 the member's id; empty for an operator  12 the most kinds of reactions  13 the most reactions
-- Returns epoch, seq, id and moment of the change, whether it was answered before, the message as JSON, and the ids of
-- attachments that are nobody's any more.

local member = ARGV[11]
local by_operator = member == ''

-- Whether one more reaction is one too many.
local function is_full(message, emoji)
  local kinds, all, known = message.reactions or {}, 0, false
  for _, kind in ipairs(kinds) do
    all = all + #kind.members
    if kind.emoji == emoji then
      known = true
      for _, other in ipairs(kind.members) do
        if other == member then
          return false
        end
      end
    end
  end
  return all >= tonumber(ARGV[13]) or (not known and #kinds >= tonumber(ARGV[12]))
end

-- Why it may not be done, or nothing.
local function objection(message, change)
  if not by_operator and not change.reaction and (message.member or {}).id ~= member then
    return 'anothers'
  elseif message.deleted and not change.deletes then
    return 'deleted'
  elseif change.reaction and not change.reaction.removed and is_full(message, change.reaction.emoji) then
    return 'full'
  end
end

local function react(message, reaction)
  local kinds = message.reactions or {}
  local at = #kinds + 1
  for n, kind in ipairs(kinds) do
    if kind.emoji == reaction.emoji then
      at = n
    end
  end
  local left, is_there = {}, false
  for _, other in ipairs(kinds[at] and kinds[at].members or {}) do
    is_there = is_there or other == member
    if other ~= member or not reaction.removed then
      table.insert(left, other)
    end
  end
  if not reaction.removed and not is_there then
    table.insert(left, member)
  end
  if #left > 0 then
    kinds[at] = { emoji = reaction.emoji, members = left }
  elseif kinds[at] then
    table.remove(kinds, at)
  end
  -- An empty list would be written as an object.
  message.reactions = #kinds > 0 and kinds or nil
end

-- The rule of chat.proto, as `Message::apply` has it.
local function fold(message, change)
  if change.deletes then
    message.deleted = true
    message.text, message.mentions, message.reactions, message.attachments = nil
    message.edited_at, message.last_edit = nil
  elseif change.edits then
    message.text, message.mentions, message.edited_at = change.text, change.mentions, change.sent_at
    -- For the next one: nobody else reads it.
    message.last_edit = change.seq
  else
    react(message, change.reaction)
  end
  message.changed = change.seq
end

-- Puts into the place of what is kept at this seq what it is now.
local function replace(at, there, message)
  redis.call('ZREM', messages, there)
  redis.call('ZADD', messages, at, cjson.encode(message))
end

-- Folds away an edit: what it said is not to be read from it when something else has taken its place.
local function forget_edit(at)
  local there = redis.call('ZRANGEBYSCORE', messages, at, at)[1]
  local readable, edit = pcall(cjson.decode, there)
  if readable then
    edit.deleted, edit.changed = true, seq
    edit.text, edit.mentions = nil
    replace(at, there, edit)
  end
end

if not by_operator then
  local before = answered(KEYS[5])
  if before then
    before[6], before[7] = '', {}
    return before
  end
  local refusal = forbid(KEYS[6], member)
  if refusal then
    return refusal
  end
end
local message, there = find(ARGV[5], ARGV[6])
if not message then
  return redis.error_reply('WRONGMESSAGE gone')
end
local change = cjson.decode('{' .. ARGV[8])
local why_not = objection(message, change)
if why_not then
  return redis.error_reply('WRONGMESSAGE ' .. why_not)
end
if by_operator and message.deleted then
  -- Something that replicas and disks are told of, so that who waits for them waits for all that came before it too.
  redis.call('HSET', meta, 'seq', seq)
  return { epoch, seq, '', 0, 1, there, {} }
end

local kept, at = keep(ARGV[7], ARGV[8], ARGV[9])
local detached = {}
for _, attachment in ipairs(change.deletes and message.attachments or {}) do
  redis.call('HDEL', KEYS[#KEYS - 3], attachment.id)
  redis.call('ZREM', KEYS[#KEYS - 1], attachment.id)
  redis.call('SADD', KEYS[#KEYS], attachment.id)
  table.insert(detached, attachment.id)
end
local last_edit = message.last_edit
fold(message, cjson.decode(kept))
-- It may have been the oldest, for which there is no place any more.
if redis.call('ZSCORE', messages, there) then
  replace(ARGV[5], there, message)
  if last_edit and not change.reaction then
    forget_edit(last_edit)
  end
end
if not by_operator then
  note_answer(KEYS[5], ARGV[7], at, ARGV[10])
end
tell(kept)
return { epoch, seq, ARGV[7], at, 0, cjson.encode(message), detached }
