-- Up to where members have read, after room.lua.

-- Up to where the member has read whose position is kept at `key`: 'epoch seq id'. One of an older run of numbers counts
-- if the message that it names is still there, so that the numbers went on; else they may have been given again.
local function read_up_to(key)
  local position = redis.call('GET', key)
  local its_epoch, its_seq, its_id = string.match(position or '', '^(%S+) (%d+) (%S*)$')
  if not its_epoch then
    return 0
  end
  if its_epoch ~= epoch then
    local there = redis.call('ZRANGEBYSCORE', messages, its_seq, its_seq)[1]
    if its_id == '' or not there or not string.find(there, '"id":"' .. its_id .. '"', 1, true) then
      return 0
    end
  end
  return tonumber(its_seq)
end
