-- Writes and publishes as a message does, so that a server which would refuse a message refuses this.
--
-- KEYS  1 the last probe
-- ARGV  1 the topic of probes  2 how to publish in it: PUBLISH, or SPUBLISH on a cluster  3 the probe
--       4 for how many milliseconds it is kept
-- Returns how many subscribers the topic has.

redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
return redis.call(ARGV[2], ARGV[1], ARGV[3])
