-- Changes and reads what operators forbid in the room.
--
-- KEYS  5 who is banned (hash)
-- ARGV  4 what: 'ban' or 'lift', 'close' or 'open', or 'read'  5 the member  6 for how many milliseconds (0: until it
--         is lifted)  7 the reason  8 the most bans
-- Returns whether it was done (not if there are as many bans as may be), the version of the rules, whether the room is
-- closed and why, and the bans: member, for how many milliseconds more (0: until it is lifted), reason.

local bans, what, member = KEYS[5], ARGV[4], ARGV[5]
local now = milliseconds()
local in_force, over, last = {}, {}, 0
local all = redis.call('HGETALL', bans)

-- Takes a ban into account: member, end and reason.
local function count(who, ends, reason)
  if ends > 0 and ends <= now then
    table.insert(over, who)
    return
  end
  for _, part in ipairs({ who, ends == 0 and 0 or ends - now, reason }) do
    table.insert(in_force, part)
  end
  -- A ban without an end is the last to end.
  last = math.max(last, ends == 0 and math.huge or ends)
end

for i = 1, #all, 2 do
  if not (what == 'lift' or what == 'ban') or all[i] ~= member then
    local ends, reason = string.match(all[i + 1], '^(%d+) (.*)$')
    count(all[i], tonumber(ends), reason)
  end
end
if what == 'ban' then
  if #in_force / 3 >= tonumber(ARGV[8]) then
    return { 0, rules, 0, '', {} }
  end
  count(member, ARGV[6] == '0' and 0 or now + ARGV[6], ARGV[7])
end

if what == 'read' or not (epoch or what == 'ban' or what == 'close') then
  return { 1, rules, closed and 1 or 0, closed or '', in_force }
end
go_on()
for _, who in ipairs(over) do
  redis.call('HDEL', bans, who)
end
if what == 'ban' then
  redis.call('HSET', bans, member, (ARGV[6] == '0' and 0 or now + ARGV[6]) .. ' ' .. ARGV[7])
elseif what == 'lift' then
  redis.call('HDEL', bans, member)
elseif what == 'close' then
  closed = ARGV[7]
  redis.call('HSET', meta, 'closed', closed)
elseif what == 'open' then
  closed = false
  redis.call('HDEL', meta, 'closed')
end
-- The bans are forgotten with the last of them.
if last == math.huge then
  redis.call('PERSIST', bans)
elseif last > 0 then
  redis.call('PEXPIREAT', bans, last)
end
rules = redis.call('HINCRBY', meta, 'rules', 1)
publish('{"rules":' .. rules .. '}')
return { 1, rules, closed and 1 or 0, closed or '', in_force }
