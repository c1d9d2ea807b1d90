-- Reads what operators did after an act, and who is kept out.
--
-- KEYS  1 the acts (sorted set)  2 who is kept out (hash)
-- ARGV  1 the number of that act; empty: all
-- Returns the number of the newest, whether that is another one, and if so: what the acts were about; who is kept out
-- (member, for how many milliseconds more, less than 1 if not any more, reason).

local number = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
number = number and string.format('%.0f', number) or '0'
if number == ARGV[1] then
  return { number, 0, {}, {} }
end
-- A lower number than before: this Redis does not know what the other knew.
local goes_on = ARGV[1] ~= '' and tonumber(ARGV[1]) < tonumber(number)
local acts = redis.call('ZRANGEBYSCORE', KEYS[1], goes_on and '(' .. ARGV[1] or '-inf', '+inf')
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local kept_out, all = {}, redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do
  local ends, reason = string.match(all[i + 1], '^(%d+) (.*)$')
  for _, part in ipairs({ all[i], ends - now, reason }) do
    table.insert(kept_out, part)
  end
end
return { number, 1, acts, kept_out }
