#!/bin/sh
# Starts Redis so that it forgets nothing: every write is on disk before it is answered.
# MIN_REPLICAS is without how many replicas it takes no write; by default it needs none. REPLICA_OF is the primary, as address
# and port, that it follows when it starts for the first time; by default none.
set -eu
umask 077
# A machine that lost power may leave half a write at the end of the file. Redis would refuse to start; what was cut off was
# never acknowledged.
for manifest in /data/appendonlydir/*.manifest; do
  [ -e "$manifest" ] || continue
  redis-check-aof "$manifest" >/dev/null || yes | redis-check-aof --fix "$manifest"
done
# Whom it follows is the Sentinels' to say once it has run: they write it down here. A server that took this from its own
# settings again would be a primary with old data after a failover, and the others would copy that.
if [ ! -s /data/redis.conf ]; then
  echo "${REPLICA_OF:+replicaof $REPLICA_OF}" >/data/redis.conf
fi
# A file of its own, since the password in redis.conf would stay what it was when the Sentinels wrote there.
echo "user default on >$REDIS_PASSWORD ~* &* +@all" >/data/users.acl
exec redis-server /data/redis.conf --dir /data --save '' --appendonly yes --appendfsync always --maxmemory-policy noeviction \
  --aclfile /data/users.acl --masterauth "$REDIS_PASSWORD" --min-replicas-to-write "${MIN_REPLICAS:-0}" --min-replicas-max-lag 2
