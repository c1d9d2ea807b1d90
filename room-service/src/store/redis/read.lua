-- Reads a part of the room's history, and where the room stands, at one moment.
--
-- ARGV  4 the page: how many messages at most
--       5 what: 'before' a number (6, exclusive; 0: from the newest on); 'since' a position; 'all', with the members;
--         or 'nothing', only where it stands
--       for 'since': 6 its seq  7 its epoch  8 its id  9 how many messages after it at most
-- Returns epoch (empty if nobody has been in the room), head, roster version, whether 'since' is proved, the messages
-- with their scores, the members, the version of the rules.

local page, what = tonumber(ARGV[4]), ARGV[5]
epoch = epoch or ''

local function newest_before(number)
  local top = number == 0 and '+inf' or '(' .. ARGV[6]
  return redis.call('ZREVRANGEBYSCORE', messages, top, '-inf', 'WITHSCORES', 'LIMIT', 0, page)
end

-- Is everything after this position still kept, and was it a position of this run, or of one that went on in it?
local function proved(since_seq, since_epoch, since_id)
  if since_seq > seq then
    return false
  end
  if since_epoch ~= epoch and since_seq > 0 then
    local there = redis.call('ZRANGEBYSCORE', messages, since_seq, since_seq)[1]
    if not there or since_id == '' or cjson.decode(there).id ~= since_id then
      return false
    end
  end
  return redis.call('ZCOUNT', messages, since_seq + 1, '+inf') == seq - since_seq
end

if what == 'nothing' then
  return { epoch, seq, roster, 0, {}, {}, rules }
elseif what == 'all' then
  return { epoch, seq, roster, 0, newest_before(0), redis.call('HVALS', members), rules }
elseif what == 'before' then
  return { epoch, seq, roster, 0, newest_before(tonumber(ARGV[6])), {}, rules }
end

local since_seq = tonumber(ARGV[6])
if proved(since_seq, ARGV[7], ARGV[8]) then
  -- Newest first, like the pages.
  local last = since_seq + tonumber(ARGV[9])
  return { epoch, seq, roster, 1, redis.call('ZREVRANGEBYSCORE', messages, last, '(' .. ARGV[6], 'WITHSCORES'), {}, rules }
end
return { epoch, seq, roster, 0, newest_before(0), {}, rules }
