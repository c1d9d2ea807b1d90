-- The beginning of every script about a room: its keys, and the run of numbers that it is in.
--
-- A run of numbers (an epoch) belongs to one run of the Redis server: after a restart or a failover the newest
-- messages may be gone, and their numbers would be given twice. So the server's run_id is kept beside the epoch,
-- and when it differs a new epoch begins. Everything is checked before the first write, since a script that
-- fails half-way keeps what it wrote; PUBLISH comes last.
--
-- KEYS  1 meta (hash)  2 messages (sorted set)  3 members (hash)  4 sessions (hash)
-- ARGV  1 the room's topic  2 how to publish in it: PUBLISH, or SPUBLISH on a cluster
--       3 the name of an epoch, should one begin now

local meta, messages, members, sessions = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local function publish(event)
  redis.call(ARGV[2], ARGV[1], event)
end

local server = redis.call('INFO', 'server')
-- A plain search, since a pattern is tried at each character, which took as long as INFO. A run_id has 40 digits.
local _, before_run = string.find(server, '\nrun_id:', 1, true)
local run = string.sub(server, before_run + 1, before_run + 40)
local kept = redis.call('HMGET', meta, 'epoch', 'run', 'seq', 'roster', 'rules', 'closed', 'at')
local epoch, seq, roster = kept[1], tonumber(kept[3] or 0), tonumber(kept[4] or 0)
-- What operators forbid: the version of it, and why nobody may be here, if that is so.
local rules, closed = tonumber(kept[5] or 0), kept[6]
-- When the newest message was kept.
local newest_at = tonumber(kept[7] or 0)

local function begin_epoch(first_free)
  epoch, seq = ARGV[3], first_free - 1
  redis.call('HSET', meta, 'epoch', epoch, 'run', run, 'seq', seq, 'roster', roster)
end

-- Goes on in the epoch of this run of the server, or begins one.
local function go_on()
  if not epoch or kept[2] ~= run then
    local top = redis.call('ZREVRANGE', messages, 0, 0, 'WITHSCORES')
    kept[2] = run
    begin_epoch((tonumber(top[2]) or 0) + 1)
  end
end

-- A room that nobody has been in has nothing to go on with: only a join or an append, which call this, make it.
if epoch or redis.call('EXISTS', messages) == 1 then
  go_on()
end

local function milliseconds()
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end

-- The error for a member whom operators keep out of the room, or nothing. A ban is when it ends (0: when it is lifted)
-- and why.
local function forbid(bans, member)
  if closed then
    return redis.error_reply('FORBIDDEN closed ' .. closed)
  end
  local ban = redis.call('HGET', bans, member)
  if ban then
    local ends, reason = string.match(ban, '^(%d+) (.*)$')
    if ends == '0' or tonumber(ends) > milliseconds() then
      return redis.error_reply('FORBIDDEN banned ' .. reason)
    end
  end
end

-- Tells of a roster change. `joined` is a member as JSON or nothing, `left` a list of member ids or nothing.
local function publish_presence(room, joined, left)
  roster = roster + 1
  redis.call('HSET', meta, 'roster', roster)
  local change = '{"presence":{"room":"' .. room .. '"'
  if joined then
    change = change .. ',"joined":[' .. joined .. ']'
  end
  if left then
    change = change .. ',"left":["' .. table.concat(left, '","') .. '"]'
  end
  change = change .. ',"member_count":' .. redis.call('HLEN', members) .. ',"version":' .. roster .. '}}'
  publish(change)
end

-- Takes a session of `edge` out. Returns the id of a member whose last session it was.
local function remove_session(session, edge)
  local seat = redis.call('HGET', sessions, session)
  local member, owner = string.match(seat or '', '^(%S+) (%S+)$')
  if owner ~= edge then
    return nil
  end
  redis.call('HDEL', sessions, session)
  if redis.call('HINCRBY', sessions, member, -1) > 0 then
    return nil
  end
  redis.call('HDEL', sessions, member)
  redis.call('HDEL', members, member)
  return member
end
