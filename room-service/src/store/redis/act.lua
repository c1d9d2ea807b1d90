-- Notes that operators did something, for every room service to look at, and who is kept out of all rooms.
--
-- KEYS  1 the acts (sorted set: what it was about -> its number)  2 who is kept out (hash)
-- ARGV  1 what it was about  2 how many acts are kept  3 'out', 'in' or 'note'
--       for 'out' and 'in': 4 the member; for 'out': 5 for how many milliseconds  6 the reason  7 the most members
--         8 for how many milliseconds more it is kept that they were disconnected
-- Returns whether it was done: not if as many are kept out as may be.

local now = redis.call('TIME')
local micros, millis = now[1] * 1000000 + now[2], now[1] * 1000 + math.floor(now[2] / 1000)
local top = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]

if ARGV[3] == 'out' then
  local all, last = redis.call('HGETALL', KEYS[2]), millis + ARGV[5]
  for i = 1, #all, 2 do
    local ends = tonumber(string.match(all[i + 1], '^%d+'))
    if ends + ARGV[8] <= millis then
      redis.call('HDEL', KEYS[2], all[i])
    end
    last = math.max(last, ends)
  end
  if redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[7]) and redis.call('HEXISTS', KEYS[2], ARGV[4]) == 0 then
    return 0
  end
  redis.call('HSET', KEYS[2], ARGV[4], (millis + ARGV[5]) .. ' ' .. ARGV[6])
  redis.call('PEXPIREAT', KEYS[2], last + ARGV[8])
elseif ARGV[3] == 'in' then
  redis.call('HDEL', KEYS[2], ARGV[4])
end

-- By the clock, so that numbers go on though the last one is forgotten.
redis.call('ZADD', KEYS[1], string.format('%.0f', math.max(micros, (tonumber(top) or 0) + 1)), ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -tonumber(ARGV[2]) - 1)
-- Whoever looks for the first time needs none of them.
redis.call('EXPIRE', KEYS[1], 3600)
return 1
