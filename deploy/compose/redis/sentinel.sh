#!/bin/sh
# Starts a Sentinel that watches the Redis of compose.ha.yaml. Two of three agree that a primary is gone.
set -eu
# It writes down what it learns, so its file is its own.
cat >/tmp/sentinel.conf <<END
port 26379
dir /tmp
sentinel monitor parlor $REDIS_PRIMARY 6379 2
sentinel auth-pass parlor $REDIS_PASSWORD
sentinel down-after-milliseconds parlor 2000
sentinel failover-timeout parlor 5000
END
exec redis-server /tmp/sentinel.conf --sentinel
