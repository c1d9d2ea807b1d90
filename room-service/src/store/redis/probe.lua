-- Writes and publishes as a message does, so that a server which would refuse a message refuses this.
--
-- KEYS  1 the last probe
-- ARGV  1 the topic of probes  2 the probe  3 for how many milliseconds it is kept
-- Returns how many subscribers the topic has.

redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return redis.call('PUBLISH', ARGV[1], ARGV[2])
