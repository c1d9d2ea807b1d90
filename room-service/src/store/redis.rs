//! The store of many processes: Redis through fred, one Lua script a step.
//!
//! With `redis/subscriptions.rs` the only place that knows fred. Its keys, as `redis-cli` sees them (the braces are Redis' hash tag, so that a
//! room lives in one slot):
//!
//! | key | type | holds |
//! |---|---|---|
//! | `chat:{lobby}:members` | hash | member id → member as JSON |
//! | `chat:{lobby}:messages` | sorted set | score = seq, member = message as JSON |
//! | `chat:{lobby}:meta` | hash | `epoch`, `run`, `seq`, `roster`, `at` |
//! | `chat:{lobby}:events` | topic | every event of the room as JSON, in order |
//! | `chat:{lobby}:sessions` | hash | session → member and edge; member → number of sessions |
//! | `chat:{lobby}:edge:<edge>` | set | the sessions of one edge in the room; the reaper removes it |
//! | `chat:{lobby}:sent:<member>:<client_id>` | string | what was answered; expires after [`REPEAT_WINDOW`] |
//! | `chat:edges` | sorted set | edge → when its lease lapses; the reaper removes it |
//! | `chat:edge:<edge>:rooms` | set | where the edge has sessions; the reaper removes it |
//! | `chat:token-secret` | string | signs session tokens |
//! | `chat:{~<store>}:probe`, `…:events` | string, topic | the last probe of one running room service; it expires |

mod subscriptions;

use std::time::Duration;

use async_trait::async_trait;
use fred::{
    clients::Client,
    interfaces::{ClientLike, KeysInterface, PubsubInterface, SetsInterface, SortedSetsInterface},
    types::{
        Builder, Expiration, FromValue, RespVersion, SetOptions, Value,
        config::{Config, ReconnectPolicy, TcpConfig, UnresponsiveConfig},
        scripts::Script,
    },
};
use proto::{
    Timestamp,
    chat::v1::{Member, Message, Position, Typing},
};
use runtime::{Health, Tasks};

use self::subscriptions::Subscriptions;
use super::{
    Appended, Arrival, Draft, Feed, Lease, Page, ProbeError, Published, REPEAT_WINDOW, Resume, Seat,
    Snapshot, Standing, Store, StoreError, feed,
};
use crate::ids::{EdgeId, RoomId, SessionName, draw};

/// How long one command may take. Two fit into the five seconds that a `send` has.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connection may stay without an answer before it is given up.
const UNRESPONSIVE: Duration = Duration::from_secs(2);
/// How many commands may wait for Redis. More are refused, and their callers told so.
const MAX_WAITING_COMMANDS: usize = 10_000;
/// How many published events fred may hold before the reader has taken them. At overflow all rooms read again.
const BROADCAST_CAPACITY: usize = 16_384;
/// Reconnecting: first wait, longest wait.
const RECONNECT_MILLIS: (u32, u32) = (50, 1000);
/// How often both connections are asked whether they live, so that a silent death is noticed.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long the last probe of a room service that ended is kept.
const PROBE_TTL: Duration = Duration::from_mins(1);
/// How many sessions one script removes at most; other scripts wait meanwhile.
const REAP_BATCH: u32 = 200;

const EDGES: &str = "chat:edges";

/// Keeps everything in Redis.
#[derive(Debug)]
pub struct RedisStore {
    client: Client,
    subscriptions: Subscriptions,
    scripts: Scripts,
    history_max: u32,
    /// Where this store alone hears its probes: named like what belongs to a room, and no room can be called so.
    probes: String,
}

#[derive(Debug)]
struct Scripts {
    append: Script,
    join: Script,
    leave: Script,
    read: Script,
    renew: Script,
    claim: Script,
    probe: Script,
}

/// The script `name.lua`, behind the beginning that all scripts about a room share.
macro_rules! room_script {
    ($name:literal) => {
        Script::from_lua(concat!(
            include_str!("redis/room.lua"),
            "\n",
            include_str!(concat!("redis/", $name, ".lua"))
        ))
    };
}

impl RedisStore {
    /// A store in the Redis at `url`, and what is to be heard of it. Does not wait for Redis: while it is away
    /// every call answers [`StoreError::Unavailable`], and `health` says why.
    pub fn connect(
        url: &str,
        history_max: u32,
        health: Health,
        tasks: &Tasks,
    ) -> Result<(Self, Feed), StoreError> {
        let client = build(url)?;
        let subscriber = build(url)?;
        let (sender, feed) = feed();
        let probes = format!("chat:{{~{}}}", draw(""));
        let probe_topic = format!("{probes}:events");
        let store = Self {
            client: client.clone(),
            subscriptions: Subscriptions::start(subscriber.clone(), sender, probe_topic, tasks),
            scripts: Scripts {
                append: room_script!("append"),
                join: room_script!("join"),
                leave: room_script!("leave"),
                read: room_script!("read"),
                renew: Script::from_lua(include_str!("redis/renew.lua")),
                claim: Script::from_lua(include_str!("redis/claim.lua")),
                probe: Script::from_lua(include_str!("redis/probe.lua")),
            },
            history_max,
            probes,
        };
        health.unready("redis", "not connected yet");
        let stop = tasks.stopping().clone();
        tasks.spawn("redis", async move {
            let connections = [client.connect(), subscriber.connect()];
            let mut beat = tokio::time::interval(HEARTBEAT);
            while !stop.is_cancelled() {
                tokio::select! {
                    () = stop.cancelled() => {}
                    _ = beat.tick() => report(&health, &client, &subscriber).await,
                }
            }
            for client in [client, subscriber] {
                // Nothing is waiting for an answer any more; a connection that is gone already is as good.
                let _ = client.quit().await;
            }
            for connection in connections {
                connection.abort();
            }
        });
        Ok((store, feed))
    }

    /// Whether `url` can be understood; if not, why, in words that do not repeat it.
    pub fn check_url(url: &str) -> Result<(), String> {
        Config::from_url(url).map(|_| ()).map_err(|error| error.details().to_owned())
    }

    async fn run<Reply>(
        &self,
        script: &Script,
        keys: Vec<String>,
        args: Vec<Value>,
    ) -> Result<Reply, StoreError>
    where
        Reply: FromValue + Send,
    {
        self.connected()?;
        script.evalsha_with_reload(&self.client, keys, args).await.map_err(|error| translate(&error))
    }

    /// Refuses at once what would only wait: fred keeps commands while it reconnects.
    fn connected(&self) -> Result<(), StoreError> {
        if self.client.is_connected() {
            return Ok(());
        }
        Err(StoreError::Unavailable("not connected".to_owned()))
    }

    async fn read(&self, room: &RoomId, page: u32, what: Vec<Value>) -> Result<Read, StoreError> {
        let mut args = vec![topic(room).into(), draw("").into(), page.into()];
        args.extend(what);
        let (epoch, head, roster_version, proved, mut messages, members): ReadReply =
            self.run(&self.scripts.read, room_keys(room), args).await?;
        messages.reverse();
        // Reversed, a score comes before its message.
        let messages = messages.chunks_exact(2).map(|pair| parse_message(room, &epoch, &pair[0], &pair[1]));
        Ok(Read {
            messages: messages.collect(),
            members: members.iter().filter_map(|member| parse_member(room, member)).collect(),
            proved: proved == 1,
            standing: Standing { epoch, head, roster_version },
        })
    }

    /// Removes `session`, or up to a batch of any sessions of the edge. How many were there.
    async fn remove(&self, room: &RoomId, edge: &EdgeId, session: &str) -> Result<u32, StoreError> {
        let mut keys = room_keys(room);
        keys.push(edge_sessions_key(room, edge));
        let args = vec![
            topic(room).into(),
            draw("").into(),
            room.as_str().into(),
            edge.0.as_str().into(),
            session.into(),
            REAP_BATCH.into(),
        ];
        self.run(&self.scripts.leave, keys, args).await
    }

    async fn rooms_of(&self, edge: &EdgeId) -> Result<Vec<RoomId>, StoreError> {
        self.connected()?;
        let rooms: Vec<String> =
            self.client.smembers(edge_rooms_key(edge)).await.map_err(|error| translate(&error))?;
        Ok(rooms.iter().filter_map(|room| RoomId::parse(room)).collect())
    }
}

/// Epoch, head, roster version, whether a position is proved, messages and scores (newest first), members.
type ReadReply = (String, u32, u64, u8, Vec<String>, Vec<String>);

struct Read {
    standing: Standing,
    proved: bool,
    messages: Vec<Message>,
    members: Vec<Member>,
}

#[async_trait]
impl Store for RedisStore {
    async fn append(&self, draft: &Draft) -> Result<Appended, StoreError> {
        let fields = Message {
            room: draft.room.to_string(),
            client_id: draft.client_id.clone(),
            text: draft.text.clone(),
            member: Some(draft.member.clone()),
            ..Message::default()
        };
        let fields = to_json(&fields);
        let mut keys = room_keys(&draft.room);
        keys.push(format!("chat:{{{}}}:sent:{}:{}", draft.room, draft.member.id, draft.client_id));
        let repeat_millis = i64::try_from(REPEAT_WINDOW.as_millis()).expect("ten minutes fit");
        let args = vec![
            topic(&draft.room).into(),
            draw("").into(),
            draft.room.as_str().into(),
            draw("").into(),
            fields.strip_prefix('{').expect("an object begins with a brace").into(),
            self.history_max.into(),
            repeat_millis.into(),
        ];
        let (epoch, seq, id, at, repeated): (String, u32, String, i64, u8) =
            self.run(&self.scripts.append, keys, args).await?;
        Ok(Appended { epoch, seq, id, sent_at: Timestamp::from_millis(at), repeated: repeated == 1 })
    }

    async fn join(&self, room: &RoomId, seat: &Seat) -> Result<Arrival, StoreError> {
        let mut keys = room_keys(room);
        keys.push(edge_sessions_key(room, &seat.edge));
        let args = vec![
            topic(room).into(),
            draw("").into(),
            room.as_str().into(),
            seat.session.0.as_str().into(),
            seat.member.id.as_str().into(),
            to_json(&seat.member).into(),
            seat.edge.0.as_str().into(),
        ];
        let (epoch, head, roster_version, new_member): (String, u32, u64, u8) =
            self.run(&self.scripts.join, keys, args).await?;
        Ok(Arrival { standing: Standing { epoch, head, roster_version }, new_member: new_member == 1 })
    }

    async fn leave(&self, room: &RoomId, session: &SessionName, edge: &EdgeId) -> Result<(), StoreError> {
        self.remove(room, edge, &session.0).await?;
        Ok(())
    }

    async fn typing(&self, room: &RoomId, member: &Member) -> Result<(), StoreError> {
        self.connected()?;
        let typing = Published::Typing(Typing { room: room.to_string(), member: Some(member.clone()) });
        let _: i64 =
            self.client.publish(topic(room), to_json(&typing)).await.map_err(|error| translate(&error))?;
        Ok(())
    }

    async fn resume(
        &self,
        room: &RoomId,
        since: &Position,
        limit: u32,
        page: u32,
    ) -> Result<Resume, StoreError> {
        let what = vec![
            "since".into(),
            since.seq.into(),
            since.epoch.as_str().into(),
            since.id.as_str().into(),
            limit.into(),
        ];
        let read = self.read(room, page, what).await?;
        Ok(Resume { standing: read.standing, resumed: read.proved, messages: read.messages })
    }

    async fn history(&self, room: &RoomId, before: u32, limit: u32) -> Result<Page, StoreError> {
        let read = self.read(room, limit, vec!["before".into(), before.into()]).await?;
        Ok(Page { standing: read.standing, messages: read.messages })
    }

    async fn snapshot(&self, room: &RoomId, page: u32) -> Result<Snapshot, StoreError> {
        let read = self.read(room, page, vec!["all".into()]).await?;
        Ok(Snapshot { standing: read.standing, messages: read.messages, members: read.members })
    }

    async fn standing(&self, room: &RoomId) -> Result<Standing, StoreError> {
        Ok(self.read(room, 0, vec!["nothing".into()]).await?.standing)
    }

    async fn subscribe(&self, room: &RoomId) -> Result<(), StoreError> {
        self.connected()?;
        self.subscriptions.add(room).await
    }

    async fn unsubscribe(&self, room: &RoomId) {
        self.subscriptions.remove(room).await;
    }

    async fn renew(&self, edge: &EdgeId, ttl: Duration) -> Result<Lease, StoreError> {
        let args = vec![edge.0.as_str().into(), millis(ttl).into()];
        let held: i8 = self.run(&self.scripts.renew, vec![EDGES.to_owned()], args).await?;
        Ok(match held {
            1 => Lease::Kept,
            0 => Lease::Begun,
            _ => Lease::BeingReaped,
        })
    }

    async fn note_room(&self, edge: &EdgeId, room: &RoomId) -> Result<(), StoreError> {
        self.connected()?;
        let _: i64 =
            self.client.sadd(edge_rooms_key(edge), room.as_str()).await.map_err(|error| translate(&error))?;
        Ok(())
    }

    async fn sessions(&self, edge: &EdgeId) -> Result<Vec<(RoomId, SessionName)>, StoreError> {
        let mut sessions = Vec::new();
        for room in self.rooms_of(edge).await? {
            let here: Vec<String> = self
                .client
                .smembers(edge_sessions_key(&room, edge))
                .await
                .map_err(|error| translate(&error))?;
            sessions.extend(here.into_iter().map(|session| (room.clone(), SessionName(session))));
        }
        Ok(sessions)
    }

    async fn reap(&self, ttl: Duration) -> Result<u64, StoreError> {
        let mut removed = 0;
        loop {
            let claimed: Option<String> =
                self.run(&self.scripts.claim, vec![EDGES.to_owned()], vec![millis(ttl).into()]).await?;
            let Some(edge) = claimed.map(EdgeId) else { return Ok(removed) };
            for room in self.rooms_of(&edge).await? {
                loop {
                    let batch = self.remove(&room, &edge, "").await?;
                    removed += u64::from(batch);
                    if batch < REAP_BATCH {
                        break;
                    }
                }
            }
            let _: i64 = self.client.del(edge_rooms_key(&edge)).await.map_err(|error| translate(&error))?;
            let _: i64 = self
                .client
                .zrem(EDGES, format!("reaping {}", edge.0))
                .await
                .map_err(|error| translate(&error))?;
        }
    }

    async fn probe(&self, nonce: u64) -> Result<(), ProbeError> {
        if !self.client.is_connected() {
            return Err(ProbeError::Away);
        }
        let key = format!("{}:probe", self.probes);
        let args: Vec<Value> = vec![
            format!("{}:events", self.probes).into(),
            nonce.to_string().into(),
            millis(PROBE_TTL).into(),
        ];
        let published = self.scripts.probe.evalsha_with_reload(&self.client, vec![key], args).await;
        match published {
            Ok(0_i64) => {
                // Redis does not count this subscriber any more, whatever the subscriber believes.
                self.subscriptions.renew().await;
                Err(ProbeError::Deaf)
            }
            Ok(_) => Ok(()),
            Err(error) => Err(why_not_probed(&error)),
        }
    }

    async fn token_secret(&self, fresh: &str) -> Result<String, StoreError> {
        const KEY: &str = "chat:token-secret";
        self.connected()?;
        let _: Option<String> = self
            .client
            .set(KEY, fresh, None::<Expiration>, Some(SetOptions::NX), false)
            .await
            .map_err(|error| translate(&error))?;
        self.client.get(KEY).await.map_err(|error| translate(&error))
    }
}

fn build(url: &str) -> Result<Client, StoreError> {
    let mut config = Config::from_url(url).map_err(|error| translate(&error))?;
    config.version = RespVersion::RESP3;
    // Redis may come later than we do.
    config.fail_fast = false;
    let (first, longest) = RECONNECT_MILLIS;
    Builder::from_config(config)
        .with_connection_config(|connection| {
            connection.connection_timeout = COMMAND_TIMEOUT;
            connection.internal_command_timeout = COMMAND_TIMEOUT;
            connection.max_command_buffer_len = MAX_WAITING_COMMANDS;
            connection.tcp = TcpConfig { nodelay: Some(true), ..TcpConfig::default() };
            connection.unresponsive =
                UnresponsiveConfig { max_timeout: Some(UNRESPONSIVE), interval: Duration::from_millis(500) };
        })
        .with_performance_config(|performance| {
            performance.default_command_timeout = COMMAND_TIMEOUT;
            performance.broadcast_channel_capacity = BROADCAST_CAPACITY;
        })
        .set_policy(ReconnectPolicy::new_exponential(0, first, longest, 2))
        .build()
        .map_err(|error| translate(&error))
}

async fn report(health: &Health, client: &Client, subscriber: &Client) {
    for (client, what) in [(client, "commands"), (subscriber, "topics")] {
        if !client.is_connected() {
            return health.unready("redis", format!("no connection for {what}"));
        }
        if let Err(error) = client.ping::<Value>(None).await {
            return health
                .unready("redis", format!("no answer on the connection for {what}: {}", error.details()));
        }
    }
    health.ready("redis");
}

/// Whether it was Redis being away, busy or full, which passes, or something that will not.
fn translate(error: &fred::error::Error) -> StoreError {
    // What Redis says when its data is not ours, or when a script of ours is wrong.
    let broken = ["WRONGTYPE", "ERR "].iter().any(|start| error.details().starts_with(start))
        || matches!(error.kind(), fred::error::ErrorKind::Parse | fred::error::ErrorKind::Config);
    let words = format!("{:?}: {}", error.kind(), error.details());
    if broken { StoreError::Broken(words) } else { StoreError::Unavailable(words) }
}

/// Never the error's own words, which may hold an address.
fn why_not_probed(error: &fred::error::Error) -> ProbeError {
    let first_word = error.details().split(' ').next().unwrap_or_default();
    match error.kind() {
        fred::error::ErrorKind::Timeout => ProbeError::Silent,
        _ if !first_word.is_empty() && first_word.bytes().all(|byte| byte.is_ascii_uppercase()) => {
            ProbeError::Refused(first_word.to_owned())
        }
        _ => ProbeError::Away,
    }
}

fn room_keys(room: &RoomId) -> Vec<String> {
    ["meta", "messages", "members", "sessions"].iter().map(|part| format!("chat:{{{room}}}:{part}")).collect()
}

fn topic(room: &RoomId) -> String {
    format!("chat:{{{room}}}:events")
}

fn edge_sessions_key(room: &RoomId, edge: &EdgeId) -> String {
    format!("chat:{{{room}}}:edge:{}", edge.0)
}

fn edge_rooms_key(edge: &EdgeId) -> String {
    format!("chat:edge:{}:rooms", edge.0)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("our own types have a JSON form")
}

/// A kept message. One that cannot be read stands as an empty one, so that the numbers stay whole.
fn parse_message(room: &RoomId, epoch: &str, score: &str, json: &str) -> Message {
    let mut message: Message = serde_json::from_str(json).unwrap_or_else(|_| {
        tracing::error!(%room, seq = score, "a kept message cannot be read");
        metrics::counter!("parlor_room_service_unreadable_records_total").increment(1);
        // Redis writes scores as decimals, and ours are whole.
        Message { seq: score.parse().unwrap_or_default(), room: room.to_string(), ..Message::default() }
    });
    epoch.clone_into(&mut message.epoch);
    message
}

fn parse_member(room: &RoomId, json: &str) -> Option<Member> {
    let member = serde_json::from_str(json);
    if member.is_err() {
        tracing::error!(%room, "a kept member cannot be read");
        metrics::counter!("parlor_room_service_unreadable_records_total").increment(1);
    }
    member.ok()
}
