//! The store of many processes: Redis through fred, one Lua script a step.
//!
//! With its parts in `redis/` the only place that knows fred: `connection.rs` reads the URL, `watch.rs` asks whether
//! Redis can do its work, `trouble.rs` has the words for it, `acknowledge.rs` waits for replicas and disks,
//! `subscriptions.rs` listens, `changes.rs` has what becomes of messages, `operators.rs` what operators change, and
//! `reading.rs` what members have read. The keys, as `redis-cli` sees them (the braces are Redis' hash tag, so that a room lives
//! in one slot; what is outside rooms is one key a command):
//!
//! | key | type | holds |
//! |---|---|---|
//! | `chat:{lobby}:members` | hash | member id → member as JSON |
//! | `chat:{lobby}:messages` | sorted set | score = seq, member = message as JSON |
//! | `chat:{lobby}:meta` | hash | `epoch`, `run`, `seq`, `roster`, `left` (the version of the last departure), `at`, `rules` (the version of what operators forbid), `closed` (why nobody may be there) |
//! | `chat:{lobby}:events` | topic | every event of the room as JSON, in order; sharded on a cluster |
//! | `chat:{lobby}:sessions` | hash | session → member and edge; member → number of sessions |
//! | `chat:{lobby}:left` | sorted set | score = roster version, member = who left then and is not back; under the empty name, up to where departures are forgotten; expires after [`DEPARTURES_TTL`] |
//! | `chat:{lobby}:bans` | hash | member id → when the ban ends and why; expires with the last of them |
//! | `chat:{lobby}:read:<member>` | string | up to where they have read: epoch, seq and id; expires as settings say |
//! | `chat:{lobby}:attachments` | hash | attachment id → who brought it, and what it is as JSON; removed with its message |
//! | `chat:{lobby}:attachments:unsent` | sorted set | score = until when it may be sent, member = attachment id |
//! | `chat:{lobby}:attachments:sent` | sorted set | score = seq of its message, member = attachment id |
//! | `chat:{lobby}:attachments:detached` | set | ids of attachments whose files are to be removed |
//! | `chat:{lobby}:edge:<edge>` | set | the sessions of one edge in the room; gone with the last of them |
//! | `chat:{lobby}:sent:<member>:<client_id>` | string | what was answered; expires after [`REPEAT_WINDOW`] |
//! | `chat:edges` | sorted set | edge → when its lease lapses; the reaper removes it |
//! | `chat:edge:<edge>:rooms` | set | where the edge has sessions; the last leave or the reaper removes a room |
//! | `chat:member:<member>:rooms` | sorted set | room → when the member joined it last, in µs; the newest [`ROOMS_KEPT`](super::reading::ROOMS_KEPT); expires as settings say |
//! | `chat:attachments` | sorted set | room → when its attachments are looked through next; removed when it has none |
//! | `chat:probe` | string | nothing: whether Redis takes writes; expires after 10 s |
//! | `chat:token-secret` | string | signs session tokens |
//! | `chat:{~<store>}:probe`, `…:events` | string, topic | the last probe of one running room service; it expires |
//! | `chat:{~operators}:acts` | sorted set | what operators did something to → number of the act; the newest 1000, for an hour |
//! | `chat:{~operators}:kept-out` | hash | member id → until when they are kept out and why; expires soon after the last of them |
//!
//! A room's keys appear with the first join or append, or when something is forbidden there, never by reading.

mod acknowledge;
mod attachments;
mod changes;
mod connection;
mod operators;
mod reading;
mod step;
mod subscriptions;
mod trouble;
mod watch;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use fred::{
    clients::Client,
    interfaces::{
        ClientLike, KeysInterface, LuaInterface, PubsubInterface, SetsInterface, SortedSetsInterface,
    },
    types::{Expiration, FromValue, SetOptions, Value},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use proto::{
    Timestamp,
    chat::v1::{Member, Message, Position, Typing},
};
use runtime::{Health, Tasks, traces};

pub use self::acknowledge::Ack;
use self::{
    acknowledge::Acknowledged,
    attachments::attachment_keys,
    connection::{build, certificates, config, parse},
    operators::bans_key,
    reading::position_key,
    step::Step,
    subscriptions::Subscriptions,
    trouble::translate,
    watch::watch,
};
use super::{
    Appended, Arrival, Change, Changed, DEPARTURES_KEPT, DEPARTURES_TTL, Departures, Draft, Feed, Lease,
    Page, ProbeError, Published, REPEAT_WINDOW, Resume, Seat, Snapshot, Standing, Store, StoreError, feed,
};
use crate::ids::{EdgeId, RoomId, SessionName, draw};

/// How long the last probe of a room service that ended is kept.
const PROBE_TTL: Duration = Duration::from_mins(1);
/// How many rooms of an edge are asked for their sessions at once.
const ROOMS_AT_ONCE: usize = 64;
/// How many sessions one script removes at most; other scripts wait meanwhile.
const REAP_BATCH: u32 = 200;

const EDGES: &str = "chat:edges";

/// Which Redis, and what is asked of it.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// Where it is, as [`RedisStore::check_url`] understands it.
    pub url: String,
    /// A PEM file of certificate authorities for TLS, besides those of the system.
    pub ca: Option<PathBuf>,
    /// What a message has survived before it is acknowledged.
    pub ack: Ack,
    /// How many messages a room keeps.
    pub history_max: u32,
}

/// Keeps everything in Redis.
#[derive(Debug)]
pub struct RedisStore {
    client: Client,
    /// What appends, if the primary's word is not enough.
    acknowledged: Option<Acknowledged>,
    subscriptions: Subscriptions,
    scripts: Scripts,
    history_max: u32,
    /// Where this store alone hears its probes: named like what belongs to a room, and no room can be called so.
    probes: String,
}

#[derive(Debug)]
struct Scripts {
    append: Step,
    join: Step,
    leave: Step,
    read: Step,
    departures: Step,
    renew: Step,
    claim: Step,
    probe: Step,
    upload: Step,
    attachment: Step,
    detached: Step,
    due_room: Step,
    due_in: Step,
    change: Step,
    rules: Step,
    act: Step,
    acts: Step,
    read_on: Step,
    joined: Step,
    summary: Step,
}

/// The script of these parts, behind the beginning that all scripts about a room share.
macro_rules! room_script {
    ($($name:literal),+) => {
        Step::new([$($name),+].last().expect("one at least"), concat!(
            include_str!("redis/room.lua"),
            $("\n", include_str!(concat!("redis/", $name, ".lua"))),+
        ))
    };
}

impl RedisStore {
    /// A store in the Redis of `options`, and what is to be heard of it. Does not wait for Redis: while it is away
    /// every call answers [`StoreError::Unavailable`], and `health` says why.
    pub fn connect(
        options: &RedisOptions,
        health: &Health,
        tasks: &Tasks,
    ) -> Result<(Self, Feed), StoreError> {
        let config = config(&options.url, options.ca.as_deref()).map_err(StoreError::Unavailable)?;
        let new_client = || build(config.clone()).map_err(|error| translate(&error));
        let mut clients = vec![new_client()?, new_client()?];
        let (client, subscriber) = (clients[0].clone(), clients[1].clone());
        let acknowledged = if options.ack == Ack::Primary {
            None
        } else {
            let own = (0..acknowledge::CONNECTIONS).map(|_| new_client()).collect::<Result<Vec<_>, _>>()?;
            clients.extend_from_slice(&own);
            Some(Acknowledged::new(options.ack, own))
        };
        let (sender, feed) = feed();
        let probes = format!("chat:{{~{}}}", draw(""));
        let probe_topic = format!("{probes}:events");
        let store = Self {
            client,
            acknowledged,
            subscriptions: Subscriptions::start(subscriber, sender, probe_topic, tasks),
            scripts: Scripts {
                append: room_script!("log", "append"),
                join: room_script!("reading", "join"),
                leave: room_script!("leave"),
                read: room_script!("read"),
                departures: room_script!("departures"),
                renew: Step::new("renew", include_str!("redis/renew.lua")),
                claim: Step::new("claim", include_str!("redis/claim.lua")),
                probe: Step::new("probe", include_str!("redis/probe.lua")),
                upload: room_script!("upload"),
                attachment: room_script!("attachment"),
                detached: room_script!("detached"),
                due_room: Step::new("due_room", include_str!("redis/due_room.lua")),
                due_in: Step::new("due_in", include_str!("redis/due_in.lua")),
                change: room_script!("log", "change"),
                rules: room_script!("rules"),
                act: Step::new("act", include_str!("redis/act.lua")),
                acts: Step::new("acts", include_str!("redis/acts.lua")),
                read_on: room_script!("reading", "read_position"),
                joined: Step::new("joined", include_str!("redis/joined.lua")),
                summary: room_script!("reading", "summary"),
            },
            history_max: options.history_max,
            probes,
        };
        health.unready("redis", "not connected yet");
        tasks.spawn("redis", watch(clients, options.ack, health.clone(), tasks.clone()));
        Ok((store, feed))
    }

    /// Whether `url` can be understood; if not, why, in words that do not repeat it.
    pub fn check_url(url: &str) -> Result<(), String> {
        parse(url).map(|_| ())
    }

    /// Whether `file` holds certificates; if not, why.
    pub fn check_ca(file: &Path) -> Result<(), String> {
        certificates(file).map(|_| ())
    }

    async fn run<Reply>(&self, step: &Step, keys: Vec<String>, args: Vec<Value>) -> Result<Reply, StoreError>
    where
        Reply: FromValue + Send,
    {
        self.connected()?;
        self.evaluate(step, keys, args).await.map_err(|error| translate(&error))
    }

    /// As [`Self::run`], and what it wrote is as safe as an acknowledged message.
    async fn run_acknowledged<Reply>(
        &self,
        step: &Step,
        keys: Vec<String>,
        args: Vec<Value>,
    ) -> Result<Reply, StoreError>
    where
        Reply: FromValue + Send,
    {
        match &self.acknowledged {
            None => self.run(step, keys, args).await,
            Some(acknowledged) => step.timed(acknowledged.run(&step.script, &keys, &args)).await,
        }
    }

    async fn evaluate<Reply>(
        &self,
        step: &Step,
        keys: Vec<String>,
        args: Vec<Value>,
    ) -> Result<Reply, fred::error::Error>
    where
        Reply: FromValue + Send,
    {
        let evaluated = async {
            match step.script.evalsha(&self.client, keys.clone(), args.clone()).await {
                // A server that has just started, or become the primary, learns the script by this.
                Err(error) if error.details().starts_with("NOSCRIPT") => {
                    let lua = step.script.lua().expect("our scripts are made from their text").clone();
                    self.client.eval(lua, keys, args).await
                }
                outcome => outcome,
            }
        };
        step.timed(evaluated).await
    }

    /// Refuses at once what would only wait: fred keeps commands while it reconnects.
    fn connected(&self) -> Result<(), StoreError> {
        if self.client.is_connected() {
            return Ok(());
        }
        Err(StoreError::Unavailable("there is no connection".to_owned()))
    }

    /// What every script about a room begins with: its topic, how to publish in it, and the name of an epoch, should
    /// one begin now.
    fn room_args(&self, room: &RoomId) -> Vec<Value> {
        vec![topic(room).into(), self.publish().into(), draw("").into()]
    }

    /// How to publish. On a cluster, only to those who listen at the node of the topic's slot.
    fn publish(&self) -> &'static str {
        if self.client.is_clustered() { "SPUBLISH" } else { "PUBLISH" }
    }

    async fn read(&self, room: &RoomId, page: u32, what: Vec<Value>) -> Result<Read, StoreError> {
        let mut args = self.room_args(room);
        args.push(page.into());
        args.extend(what);
        let (epoch, head, roster_version, proved, mut messages, members, rules_version): ReadReply =
            self.run(&self.scripts.read, room_keys(room), args).await?;
        messages.reverse();
        // Reversed, a score comes before its message.
        let messages = messages.chunks_exact(2).map(|pair| parse_message(room, &epoch, &pair[0], &pair[1]));
        Ok(Read {
            messages: messages.collect(),
            members: members.iter().filter_map(|member| parse_member(room, member)).collect(),
            proved: proved == 1,
            standing: Standing { epoch, head, roster_version, rules_version },
        })
    }

    /// Removes `session`, or up to a batch of any sessions of the edge. How many of the edge's are left.
    async fn remove(&self, room: &RoomId, edge: &EdgeId, session: &str) -> Result<Removed, StoreError> {
        let mut keys = room_keys(room);
        keys.extend([edge_sessions_key(room, edge), departures_key(room)]);
        let mut args = self.room_args(room);
        args.extend([
            room.as_str().into(),
            millis(DEPARTURES_TTL).into(),
            (&*edge.0).into(),
            session.into(),
            REAP_BATCH.into(),
            DEPARTURES_KEPT.into(),
        ]);
        let (removed, left) = self.run(&self.scripts.leave, keys, args).await?;
        Ok(Removed { removed, left })
    }

    /// The edge's last session has left the room: nobody need look there when the edge dies.
    ///
    /// The two keys live in different slots, so this is not one step with the leave. Whoever joins meanwhile is seen
    /// here, or notes the room once more after its join (`Store::join`), whichever comes last.
    async fn forget_room(&self, edge: &EdgeId, room: &RoomId) -> Result<(), StoreError> {
        let _: i64 =
            self.client.srem(edge_rooms_key(edge), room.as_str()).await.map_err(|error| translate(&error))?;
        let here: u64 =
            self.client.scard(edge_sessions_key(room, edge)).await.map_err(|error| translate(&error))?;
        if here > 0 { self.note_room(edge, room).await } else { Ok(()) }
    }

    async fn rooms_of(&self, edge: &EdgeId) -> Result<Vec<RoomId>, StoreError> {
        self.connected()?;
        let rooms: Vec<String> =
            self.client.smembers(edge_rooms_key(edge)).await.map_err(|error| translate(&error))?;
        Ok(rooms.iter().filter_map(|room| RoomId::parse(room)).collect())
    }
}

/// Epoch, head, roster version, whether a position is proved, messages and scores (newest first), members, rules
/// version.
type ReadReply = (String, u32, u64, u8, Vec<String>, Vec<String>, u64);

/// Epoch, head, roster version, whether the member is new, whether the edge had no session there, rules version, up to
/// where the member has read.
type JoinReply = (String, u32, u64, u8, u8, u64, u32);

struct Removed {
    removed: u32,
    left: u32,
}

struct Read {
    standing: Standing,
    proved: bool,
    messages: Vec<Message>,
    members: Vec<Member>,
}

#[async_trait]
impl Store for RedisStore {
    async fn append(&self, draft: &Draft) -> Result<Appended, StoreError> {
        let mut keys = room_keys(&draft.room);
        keys.push(answer_key(&draft.room, &draft.member.id, &draft.client_id));
        keys.push(bans_key(&draft.room));
        let mut args = self.room_args(&draft.room);
        args.extend([
            draft.room.as_str().into(),
            draw("").into(),
            fields(&draft.to_message()).into(),
            self.history_max.into(),
            millis(REPEAT_WINDOW).into(),
            draft.member.id.as_str().into(),
            traces::traceparent().into(),
        ]);
        // Most answer nothing and have nothing attached.
        if draft.reply_to.is_some() || !draft.attachments.is_empty() {
            let answered = draft.reply_to.clone().unwrap_or_default();
            args.extend([answered.seq.into(), answered.id.into()]);
        }
        if !draft.attachments.is_empty() {
            keys.extend(attachment_keys(&draft.room));
            args.extend(draft.attachments.iter().map(|id| id.as_str().into()));
        }
        let (epoch, seq, id, at, repeated): (String, u32, String, i64, u8) =
            self.run_acknowledged(&self.scripts.append, keys, args).await?;
        Ok(Appended { epoch, seq, id, sent_at: Timestamp::from_millis(at), repeated: repeated == 1 })
    }

    async fn change(&self, change: &Change) -> Result<Changed, StoreError> {
        let fields = fields(&change.to_message());
        let outcome = self.run_change(&change.room, &change.message, fields, Some(change)).await?;
        Ok(Changed { change: outcome.change, detached: outcome.detached })
    }

    async fn join(&self, room: &RoomId, seat: &Seat) -> Result<Arrival, StoreError> {
        let mut keys = room_keys(room);
        keys.extend([
            edge_sessions_key(room, &seat.edge),
            departures_key(room),
            bans_key(room),
            position_key(room, &seat.member.id),
        ]);
        let mut args = self.room_args(room);
        args.extend([
            room.as_str().into(),
            millis(DEPARTURES_TTL).into(),
            (&*seat.session.0).into(),
            seat.member.id.as_str().into(),
            to_json(&*seat.member).into(),
            (&*seat.edge.0).into(),
        ]);
        let (epoch, head, roster_version, new_member, alone, rules_version, read): JoinReply =
            self.run(&self.scripts.join, keys, args).await?;
        if alone == 1 {
            // A leave of the edge's last session may have forgotten the room since it was noted.
            self.note_room(&seat.edge, room).await?;
        }
        let standing = Standing { epoch, head, roster_version, rules_version };
        Ok(Arrival { standing, new_member: new_member == 1, read })
    }

    async fn leave(&self, room: &RoomId, session: &SessionName, edge: &EdgeId) -> Result<(), StoreError> {
        let Removed { left, .. } = self.remove(room, edge, &session.0).await?;
        if left == 0 { self.forget_room(edge, room).await } else { Ok(()) }
    }

    async fn typing(&self, room: &RoomId, member: &Member) -> Result<(), StoreError> {
        self.connected()?;
        let typing = Published::Typing(Typing { room: room.to_string(), member: Some(member.clone()) });
        let published = if self.client.is_clustered() {
            self.client.spublish(topic(room), to_json(&typing)).await
        } else {
            self.client.publish(topic(room), to_json(&typing)).await
        };
        published.map_err(|error| translate(&error))
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

    async fn departures(&self, room: &RoomId, epoch: &str, version: u64) -> Result<Departures, StoreError> {
        let mut keys = room_keys(room);
        keys.push(departures_key(room));
        let mut args = self.room_args(room);
        args.extend([epoch.into(), version.to_string().into()]);
        let (proved, members): (u8, Vec<String>) = self.run(&self.scripts.departures, keys, args).await?;
        Ok(Departures { proved: proved == 1, members })
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
        let args = vec![(&*edge.0).into(), millis(ttl).into()];
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
        let rooms = self.rooms_of(edge).await?;
        let sessions = stream::iter(rooms).map(|room| async move {
            let here: Vec<String> = self
                .client
                .smembers(edge_sessions_key(&room, edge))
                .await
                .map_err(|error| translate(&error))?;
            let here = here.into_iter().map(|session| (room.clone(), SessionName(session.into())));
            Ok::<Vec<_>, StoreError>(here.collect())
        });
        let sessions: Vec<_> = sessions.buffer_unordered(ROOMS_AT_ONCE).try_collect().await?;
        Ok(sessions.concat())
    }

    async fn reap(&self, ttl: Duration) -> Result<u64, StoreError> {
        let mut removed = 0;
        loop {
            let claimed: Option<String> =
                self.run(&self.scripts.claim, vec![EDGES.to_owned()], vec![millis(ttl).into()]).await?;
            let Some(edge) = claimed.map(|edge| EdgeId(edge.into())) else { return Ok(removed) };
            for room in self.rooms_of(&edge).await? {
                loop {
                    let batch = self.remove(&room, &edge, "").await?;
                    removed += u64::from(batch.removed);
                    if batch.left == 0 {
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
            self.publish().into(),
            nonce.to_string().into(),
            millis(PROBE_TTL).into(),
        ];
        let published = self.evaluate(&self.scripts.probe, vec![key], args).await;
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

fn departures_key(room: &RoomId) -> String {
    format!("chat:{{{room}}}:left")
}

/// What was answered to a member's `client_id`.
fn answer_key(room: &RoomId, member: &str, client_id: &str) -> String {
    format!("chat:{{{room}}}:sent:{member}:{client_id}")
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

/// A message as the scripts that keep it take it: from the first name to the closing brace.
fn fields(message: &Message) -> String {
    to_json(message).split_off(1)
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
