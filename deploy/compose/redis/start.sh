#!/bin/sh
# Starts Redis so that it forgets nothing: every write is on disk before it is answered. "$@" are further settings.
set -eu
# A machine that lost power may leave half a write at the end of the file. Redis would refuse to start; what was cut off was
# never acknowledged.
for manifest in /data/appendonlydir/*.manifest; do
  [ -e "$manifest" ] || continue
  redis-check-aof "$manifest" >/dev/null || yes | redis-check-aof --fix "$manifest"
done
exec redis-server --dir /data --save '' --appendonly yes --appendfsync always --maxmemory-policy noeviction \
  --requirepass "$REDIS_PASSWORD" --masterauth "$REDIS_PASSWORD" "$@"
