//! What becomes of rooms when Redis fails, in each of the ways that it has. Whoever sends is told so, nobody vanishes,
//! what was acknowledged is kept, and all goes on by itself. What loses its data is in `store_contract.rs`.
#![allow(clippy::unwrap_used)]

mod people;

use std::{collections::HashSet, path::PathBuf, sync::Arc, time::Duration};

use proto::chat::v1::Position;
use room_service::{
    ids::{EdgeId, RoomId},
    store::{
        Ack, Appended, Draft, Feed, Heard, Lease, Published, RedisOptions, RedisStore, Store, StoreError,
    },
};
use runtime::{Health, Tasks};
use testkit::{Authority, PATIENCE, RedisCluster, RedisSentinels, RedisServer, eventually};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::people::{lobby, member, seat};

/// How long a send may wait for its answer, whatever it is.
const SEND_DEADLINE: Duration = Duration::from_secs(5);
/// How soon a room is heard again after what it lived on has moved.
const HEALED: Duration = Duration::from_secs(10);

#[tokio::test]
async fn sentinel_replaces_a_primary_that_was_killed_and_nobody_is_missing() {
    let mut redis = RedisSentinels::start(1).await;
    let mut world = World::open(&redis.url(), Ack::Primary);
    world.is_ready().await;
    world.store.subscribe(&lobby()).await.unwrap();
    world.store.join(&lobby(), &seat("s1", "ada", "e1")).await.unwrap();
    let before = world.say("c1").await.unwrap();
    eventually("the replica has it", async || {
        redis.servers[1].ask(&["EXISTS", "chat:{lobby}:sent:ada:c1"]).await.starts_with(":1").then_some(())
    })
    .await;
    redis.servers[0].kill().await;
    world.is_away("c2").await;
    let after = world.said("c2").await;
    assert_ne!(after.epoch, before.epoch, "the new primary may not have had the newest messages");
    let since = Position { epoch: before.epoch, seq: before.seq, id: before.id };
    assert!(world.store.resume(&lobby(), &since, 10, 10).await.unwrap().resumed, "but it had this one");
    assert_eq!(world.members().await, ["ada"]);
    world.hears_the_room(&lobby()).await;
    world.is_ready().await;
    world.end().await;
}

#[tokio::test]
async fn a_primary_that_was_frozen_and_comes_back_acknowledges_nothing_that_is_lost() {
    let redis = RedisSentinels::start(2).await;
    for server in &redis.servers {
        server.config_set("min-replicas-to-write", "1").await;
        server.config_set("min-replicas-max-lag", "2").await;
    }
    nothing_is_lost_when_the_primary_freezes(redis, Ack::Primary).await;
}

#[tokio::test]
async fn with_ack_replica_that_needs_no_min_replicas() {
    nothing_is_lost_when_the_primary_freezes(RedisSentinels::start(2).await, Ack::Replica).await;
}

async fn nothing_is_lost_when_the_primary_freezes(redis: RedisSentinels, ack: Ack) {
    let world = World::open(&redis.url(), ack);
    world.is_ready().await;
    let stop = CancellationToken::new();
    let chatting = tokio::spawn(chat(world.store.clone(), stop.clone()));
    let first = world.said("before").await;
    redis.servers[0].pause().await;
    let second = eventually("the next primary acknowledges", async || {
        world.say("after").await.ok().filter(|after| after.epoch != first.epoch)
    })
    .await;
    redis.servers[0].resume().await;
    eventually("the old primary is a replica of the new one", async || {
        // A primary that becomes a replica lets its clients go.
        let role = redis.servers[0].try_ask(&["INFO", "replication"]).await?;
        (role.contains("role:slave") && role.contains("master_link_status:up")).then_some(())
    })
    .await;
    let last = world.said("last").await;
    assert_eq!(last.epoch, second.epoch, "nobody went back to the old primary");
    stop.cancel();
    let acknowledged = chatting.await.unwrap();
    assert!(acknowledged.iter().any(|appended| appended.epoch == first.epoch), "some before");
    assert!(acknowledged.iter().any(|appended| appended.epoch == second.epoch), "some after");
    let kept = world.store.history(&lobby(), 0, HISTORY_MAX).await.unwrap().messages;
    let kept: HashSet<(u32, String)> = kept.into_iter().map(|message| (message.seq, message.id)).collect();
    for appended in acknowledged.into_iter().chain([first, second, last]) {
        assert!(kept.contains(&(appended.seq, appended.id)), "{} was acknowledged and is lost", appended.seq);
    }
    world.end().await;
}

#[tokio::test]
async fn a_cluster_moves_a_slot_and_then_loses_a_node_and_rooms_are_heard_again() {
    let mut cluster = RedisCluster::start().await;
    let mut world = World::open(&cluster.url(), Ack::Primary);
    world.is_ready().await;
    // A room of the first node, which has a replica.
    let mut room = lobby();
    for n in 0.. {
        if cluster.owner(&format!("chat:{{{room}}}:meta")).await == 0 {
            break;
        }
        room = RoomId::parse(&format!("room-{n}")).unwrap();
    }
    world.store.subscribe(&room).await.unwrap();
    world.store.join(&room, &seat("s1", "ada", "e1")).await.unwrap();
    let first = world.store.append(&draft(&room, "c1")).await.unwrap();
    let careful = World::open(&cluster.url(), Ack::Replica);
    let second =
        eventually("this node has a replica", async || careful.store.append(&draft(&room, "c2")).await.ok())
            .await;
    assert_eq!(second.seq, 2);
    careful.end().await;

    cluster.move_slot(&format!("chat:{{{room}}}:meta"), 0, 1).await;
    timeout(HEALED, world.hears_the_room(&room)).await.expect("heard from the slot's new node");
    let since = Position { epoch: first.epoch, seq: first.seq, id: first.id };
    assert!(world.store.resume(&room, &since, 1000, 10).await.unwrap().resumed, "it went along");
    cluster.move_slot(&format!("chat:{{{room}}}:meta"), 1, 0).await;
    timeout(HEALED, world.hears_the_room(&room)).await.expect("and from the old one again");

    let last =
        eventually("the room is at rest", async || world.store.append(&draft(&room, "last")).await.ok())
            .await;
    eventually("the replica has it", async || {
        let role = cluster.nodes[3].ask(&["INFO", "replication"]).await;
        let behind = cluster.nodes[0].ask(&["INFO", "replication"]).await;
        let offset =
            |text: &str, name: &str| text.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
        let (replica, primary) =
            (offset(&role, "slave_repl_offset:")?, offset(&behind, "master_repl_offset:")?);
        (replica == primary).then_some(())
    })
    .await;
    cluster.nodes[0].kill().await;
    let refused = world.store.append(&draft(&room, "c3")).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    eventually("the replica takes over", async || world.store.append(&draft(&room, "c3")).await.ok()).await;
    world.hears_the_room(&room).await;
    let kept = world.store.history(&room, 0, HISTORY_MAX).await.unwrap().messages;
    assert!(kept.iter().any(|message| message.id == last.id));
    assert_eq!(world.store.snapshot(&room, 0).await.unwrap().members.len(), 1);
    world.is_ready().await;
    world.end().await;
}

#[tokio::test]
async fn a_redis_that_loads_its_data_says_so_and_then_has_it() {
    // Two milliseconds a key, and every ten of them it looks up.
    let mut redis = RedisServer::with(&[
        "--enable-debug-command",
        "yes",
        "--key-load-delay",
        "2000",
        "--loading-process-events-interval-bytes",
        "1024",
    ])
    .await;
    let world = World::open(&redis.url(), Ack::Primary);
    world.is_ready().await;
    world.say("c1").await.unwrap();
    for command in [&["DEBUG", "POPULATE", "2000", "filler", "100"], &["SAVE"][..]] {
        assert_eq!(redis.ask(command).await, "+OK\r\n");
    }
    redis.kill().await;
    let ((), _) = tokio::join!(redis.restart(), world.is_unready("it is loading its data"));
    assert_eq!(world.said("c2").await.seq, 2);
    world.is_ready().await;
    world.end().await;
}

#[tokio::test]
async fn a_full_redis_takes_no_messages_and_nobody_vanishes() {
    let redis = RedisServer::start().await;
    let world = World::open(&redis.url(), Ack::Primary);
    world.is_ready().await;
    let lease = Duration::from_millis(50);
    assert_eq!(world.store.renew(&EdgeId("e1".into()), lease).await.unwrap(), Lease::Begun);
    world.store.note_room(&EdgeId("e1".into()), &lobby()).await.unwrap();
    world.store.join(&lobby(), &seat("s1", "ada", "e1")).await.unwrap();
    redis.config_set("maxmemory", "1").await;
    world.is_unready("it is full (maxmemory)").await;
    let refused = world.say("c1").await.unwrap_err();
    assert!(matches!(&refused, StoreError::Unavailable(words) if words.contains("full")), "{refused}");
    assert!(world.store.renew(&EdgeId("e1".into()), lease).await.is_err(), "leases cannot be renewed");
    eventually("the lease has lapsed, and still the reaper may not remove anybody", async || {
        world.store.reap(lease).await.err()
    })
    .await;
    assert_eq!(world.members().await, ["ada"]);
    redis.config_set("maxmemory", "0").await;
    assert_eq!(world.said("c1").await.seq, 1);
    world.is_ready().await;
    world.end().await;
}

#[tokio::test]
async fn a_redis_that_forgets_rooms_when_it_is_full_is_not_ready() {
    let redis = RedisServer::with(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]).await;
    let world = World::open(&redis.url(), Ack::Primary);
    world.is_unready("its maxmemory-policy is allkeys-lru").await;
    redis.config_set("maxmemory-policy", "noeviction").await;
    world.is_ready().await;
    world.end().await;
}

#[tokio::test]
async fn a_read_only_replica_is_named_and_used_once_it_is_the_primary() {
    let primary = RedisServer::start().await;
    let replica = RedisServer::with(&["--replicaof", &format!("127.0.0.1 {}", primary.port())]).await;
    let world = World::open(&replica.url(), Ack::Primary);
    world.is_unready("it is a read-only replica").await;
    assert!(matches!(world.say("c1").await, Err(StoreError::Unavailable(_))));
    replica.ask(&["REPLICAOF", "NO", "ONE"]).await;
    world.said("c1").await;
    world.is_ready().await;
    world.end().await;
}

#[tokio::test]
async fn a_wrong_password_is_named_and_never_repeated() {
    let mut redis = RedisServer::secret("correct-horse").await;
    let url = format!("redis://:hunter2@{}", redis.address());
    let world = World::open(&url, Ack::Primary);
    let words = world.is_unready("it does not take the user and password").await;
    assert!(!words.contains("hunter2") && !words.contains(&redis.address()), "{words}");
    redis.change_password("hunter2").await;
    world.is_ready().await;
    world.said("c1").await;
    world.end().await;
}

#[tokio::test]
async fn a_user_who_may_do_what_the_readme_says_and_no_more_is_enough() {
    let redis = RedisServer::start().await;
    let rules = "on >hunter2 ~chat:* &chat:* +@all -@dangerous +info +role";
    let rules: Vec<&str> = ["ACL", "SETUSER", "parlor"].into_iter().chain(rules.split(' ')).collect();
    assert_eq!(redis.ask(&rules).await, "+OK\r\n");
    let mut world = World::open(&format!("redis://parlor:hunter2@{}", redis.address()), Ack::Primary);
    world.is_ready().await;
    world.store.subscribe(&lobby()).await.unwrap();
    world.store.join(&lobby(), &seat("s1", "ada", "e1")).await.unwrap();
    world.hears_the_room(&lobby()).await;
    redis.ask(&["ACL", "SETUSER", "parlor", "-info"]).await;
    world.is_unready("its ACL does not let the user").await;
    redis.ask(&["ACL", "SETUSER", "parlor", "+info"]).await;
    world.is_ready().await;
    world.end().await;
}

#[tokio::test]
async fn tls_is_for_those_who_know_the_authority() {
    let authority = Authority::of("localhost");
    let redis = RedisServer::encrypted(&authority).await;
    let world = World::open_trusting(&redis.url(), Some(authority.file()), Ack::Primary);
    world.is_ready().await;
    world.say("c1").await.unwrap();
    world.end().await;
    let stranger = World::open_trusting(&redis.url(), Some(Authority::of("localhost").file()), Ack::Primary);
    stranger.is_unready("its certificate comes from nobody who is trusted here").await;
    assert!(matches!(stranger.say("c2").await, Err(StoreError::Unavailable(_))));
    stranger.end().await;
}

#[tokio::test]
async fn sentinels_and_the_primary_that_they_announce_are_reached_by_tls() {
    let authority = Authority::of("127.0.0.1");
    let redis = RedisSentinels::encrypted(1, &authority).await;
    let mut world = World::open_trusting(&redis.url(), Some(authority.file()), Ack::Primary);
    world.is_ready().await;
    world.store.subscribe(&lobby()).await.unwrap();
    world.hears_the_room(&lobby()).await;
    world.end().await;
}

#[tokio::test]
async fn the_nodes_of_a_cluster_are_trusted_by_the_name_in_the_url() {
    let authority = Authority::of("localhost");
    let cluster = RedisCluster::encrypted(&authority).await;
    let mut world = World::open_trusting(&cluster.url(), Some(authority.file()), Ack::Primary);
    world.is_ready().await;
    // Nodes are announced by address, and their certificates are for a name.
    for n in 0..9 {
        let room = RoomId::parse(&format!("room-{n}")).unwrap();
        world.store.subscribe(&room).await.unwrap();
        world.hears_the_room(&room).await;
    }
    world.end().await;
}

#[tokio::test]
async fn a_redis_that_pauses_answers_the_same_send_once() {
    let redis = RedisServer::start().await;
    let world = World::open(&redis.url(), Ack::Primary);
    world.is_ready().await;
    world.say("c1").await.unwrap();
    redis.pause().await;
    world.is_away("c2").await;
    world.is_unready("").await;
    redis.resume().await;
    world.said("c2").await;
    let kept = world.store.history(&lobby(), 0, HISTORY_MAX).await.unwrap().messages;
    let kept: Vec<(u32, &str)> =
        kept.iter().map(|message| (message.seq, message.client_id.as_str())).collect();
    assert_eq!(kept, [(1, "c1"), (2, "c2")]);
    world.is_ready().await;
    world.end().await;
}

#[tokio::test]
async fn with_ack_replica_a_message_is_sent_once_a_replica_has_it() {
    let redis = RedisServer::with(&["--repl-diskless-sync-delay", "0"]).await;
    let world = World::open(&redis.url(), Ack::Replica);
    world.is_unready("it has no replica").await;
    assert!(matches!(world.say("c1").await, Err(StoreError::Unavailable(_))));
    let replica = RedisServer::with(&["--replicaof", &format!("127.0.0.1 {}", redis.port())]).await;
    world.is_ready().await;
    let first = world.said("c1").await;
    assert!(first.repeated, "it was kept when it could not be acknowledged");
    assert!(replica.ask(&["ZCARD", "chat:{lobby}:messages"]).await.starts_with(":1"));
    replica.pause().await;
    world.is_away("c2").await;
    // On whichever connection.
    for _ in 0..3 {
        assert!(matches!(world.say("c2").await, Err(StoreError::Unavailable(_))), "a repeat waits too");
    }
    replica.resume().await;
    let second = world.said("c2").await;
    assert!(second.repeated);
    assert!(replica.ask(&["ZCARD", "chat:{lobby}:messages"]).await.starts_with(":2"));
    assert!(!world.say("c3").await.unwrap().repeated);
    world.end().await;
}

#[tokio::test]
async fn with_ack_aof_a_redis_that_cannot_say_so_is_refused_by_its_version() {
    let redis = RedisServer::durable().await;
    let world = World::open(&redis.url(), Ack::Aof);
    if redis.ask(&["COMMAND", "INFO", "WAITAOF"]).await.contains("waitaof") {
        world.is_ready().await;
        assert!(!world.say("c1").await.unwrap().repeated);
    } else {
        world.is_unready("PARLOR_ROOM_SERVICE_ACK=aof needs Redis 7.2 or newer").await;
        assert!(matches!(world.say("c1").await, Err(StoreError::Unavailable(_))));
        assert_eq!(world.store.standing(&lobby()).await.unwrap().head, 0, "nothing is kept meanwhile");
    }
    world.end().await;
}

const HISTORY_MAX: u32 = 100_000;

/// A store, and what keeps it alive.
struct World {
    store: Arc<dyn Store>,
    feed: Feed,
    health: Health,
    tasks: Tasks,
}

impl World {
    fn open(url: &str, ack: Ack) -> Self {
        Self::open_trusting(url, None, ack)
    }

    fn open_trusting(url: &str, ca: Option<PathBuf>, ack: Ack) -> Self {
        let (health, tasks) = (Health::default(), Tasks::default());
        let options = RedisOptions { url: url.to_owned(), ca, ack, history_max: HISTORY_MAX };
        let (store, feed) = RedisStore::connect(&options, &health, &tasks).unwrap();
        Self { store: Arc::new(store), feed, health, tasks }
    }

    async fn is_ready(&self) {
        eventually("Redis does its work", async || self.health.check().ok()).await;
    }

    /// Waits until it is not ready for this reason, and gives all that is said.
    async fn is_unready(&self, reason: &str) -> String {
        eventually(reason, async || self.health.check().err().filter(|words| words.contains(reason))).await
    }

    async fn say(&self, client_id: &str) -> Result<Appended, StoreError> {
        let said = timeout(SEND_DEADLINE, self.store.append(&draft(&lobby(), client_id))).await;
        said.expect("a send is answered in time")
    }

    /// A send is refused, in time and for a reason that passes.
    async fn is_away(&self, client_id: &str) {
        let refused = self.say(client_id).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    }

    /// Sends until it is acknowledged.
    async fn said(&self, client_id: &str) -> Appended {
        eventually("a send is acknowledged", async || self.say(client_id).await.ok()).await
    }

    /// Says something new until the topic brings it.
    async fn hears_the_room(&mut self, room: &RoomId) {
        let mut n = 0;
        loop {
            n += 1;
            let said = self.store.append(&draft(room, &format!("heard-{n}"))).await;
            while let Ok(heard) = timeout(Duration::from_millis(100), self.feed.next()).await {
                if let (Some(Heard::Published(_, published, _)), Ok(said)) = (heard, &said)
                    && matches!(*published, Published::Message(message) if message.id == said.id)
                {
                    return;
                }
            }
            assert!(n < 200, "the room is not heard any more");
        }
    }

    async fn members(&self) -> Vec<String> {
        let members = self.store.snapshot(&lobby(), 0).await.unwrap().members;
        members.into_iter().map(|member| member.id).collect()
    }

    async fn end(self) {
        assert!(self.tasks.finish(PATIENCE).await);
    }
}

/// Sends one message after the other, each until it is acknowledged. What was acknowledged.
async fn chat(store: Arc<dyn Store>, stop: CancellationToken) -> Vec<Appended> {
    let mut acknowledged = Vec::new();
    let mut n = 0;
    while !stop.is_cancelled() {
        match store.append(&draft(&lobby(), &format!("chat-{n}"))).await {
            Ok(appended) => {
                acknowledged.push(appended);
                n += 1;
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
        // Two a millisecond are enough, and more would fill the history.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    acknowledged
}

fn draft(room: &RoomId, client_id: &str) -> Draft {
    Draft::text(room.clone(), member("ada").into(), client_id, "hi")
}
