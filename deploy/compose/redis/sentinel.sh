#!/bin/sh
# Starts a Sentinel that watches the Redis of compose.ha.yaml. Two of three agree that a primary is gone.
# REDIS_PRIMARY is the primary's address when it starts for the first time.
set -eu
umask 077
# What it learns it writes down here, first of all who is primary now.
if [ ! -s /data/sentinel.conf ]; then
  cat >/data/sentinel.conf <<END
port 26379
dir /data
sentinel monitor parlor $REDIS_PRIMARY 6379 2
sentinel down-after-milliseconds parlor 2000
sentinel failover-timeout parlor 5000
END
fi
exec redis-server /data/sentinel.conf --sentinel auth-pass parlor "$REDIS_PASSWORD"
