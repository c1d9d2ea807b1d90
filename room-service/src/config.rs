//! Every knob of a room service: unit, default, reason. The doc comments are the `--help` text. Those of sign-in are in
//! `config/sign_in.rs`, those of attachments in `config/attachments.rs`.

mod attachments;
mod sign_in;

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use clap::Parser;
use runtime::{
    settings::{Together, duration},
    telemetry::{LogFilter, LogFormat},
    traces::{Collector, Ratio},
};

pub use self::attachments::{Attachments, Types};
pub use self::sign_in::{Algorithms, Audience, Auth, KeyFile, SignIn, Terms};
pub(crate) use self::{attachments::kib, sign_in::KeySource};
use crate::{
    store::{Ack, RedisStore},
    tls::TlsSettings,
};

/// Parlor's room service: decides who may join, what may be said and what everyone hears, and owns Redis.
#[derive(Clone, Debug, Parser)]
#[command(name = "room-service", version = runtime::build::version())]
pub struct Settings {
    /// Where gateways and bots connect (gRPC): an address and a port. Loopback, since the stream of the gateways is
    /// not for strangers.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_LISTEN", default_value = "127.0.0.1:50051")]
    pub listen: SocketAddr,

    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc here would become that of the whole command")]
    pub tls: TlsSettings,

    /// Where /livez, /readyz and /metrics answer (HTTP): an address and a port, apart from what users reach.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_ADMIN_LISTEN", default_value = "127.0.0.1:9465")]
    pub admin_listen: SocketAddr,

    /// The Redis that keeps the rooms, version 7.0 or newer. `redis://user:password@host:port/db` is one server, of
    /// which only the host is needed; `redis-sentinel://user:password@host:port/db?sentinelServiceName=name&node=host:port`
    /// asks Sentinels for it; `redis-cluster://user:password@host:port?node=host:port` is a cluster. With `rediss`
    /// instead of `redis` it is reached by TLS. Unset: kept in memory, for one process alone, and gone with it.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_REDIS_URL", value_parser = redis_url, hide_env_values = true)]
    pub redis_url: Option<String>,

    /// A PEM file of certificate authorities that Redis' certificate may come from, besides those that the system
    /// trusts. For a Redis with a certificate of one's own.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_REDIS_CA", value_parser = redis_ca)]
    pub redis_ca: Option<PathBuf>,

    /// What a message has survived when its sender is told that it was sent: it is kept by the primary, and as safe as
    /// the primary's appendfsync makes it; a replica has it too; or it is on the primary's disk (aof, which needs Redis
    /// 7.2 with appendonly yes). If that does not happen within a second, the sender is told to send again. The slower
    /// ones cost each message a round trip to a replica or a disk.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_ACK", value_enum, default_value_t = Ack::Primary)]
    pub ack: Ack,

    /// How many messages a join brings, and a page of history by default. 1 to 200: a few screens.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_HISTORY_PAGE", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=200))]
    pub history_page: u32,

    /// How many messages a room keeps; the oldest are forgotten, in Redis a hundredth of them at a time, so that there are
    /// up to that many more. Weeks of a lively room, 3 MB of Redis.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_HISTORY_MAX", default_value_t = 10_000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub history_max: u32,

    /// The longest text of a message, in bytes of UTF-8. Two printed pages. At most 60,000, so that a message fits a
    /// frame.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_MAX_TEXT_BYTES", default_value_t = 8192,
          value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub max_text_bytes: u32,

    /// How long a member stays whose connection was lost. Long enough for a reload, and for a move to another gateway.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_LEAVE_GRACE", default_value = "5s", value_parser = duration)]
    pub leave_grace: Duration,

    /// How long the members of a gateway or a service stay that died without a word. It is renewed at every third of
    /// it, so a shorter one costs more and forgives less.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_LEASE_TTL", default_value = "15s", value_parser = duration)]
    pub lease_ttl: Duration,

    /// Signs session tokens: at least 16 characters, the same for all services. Unset: drawn once and kept in the
    /// store, so that all services share it.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_TOKEN_SECRET", value_parser = secret, hide_env_values = true)]
    pub token_secret: Option<String>,

    /// What operators show to disconnect members, ban them, delete messages and close rooms, by gRPC and by HTTP: at
    /// least 16 characters. A secret: whoever has it may remove anybody. Unset: nobody may do any of that.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_ADMIN_TOKEN", value_parser = secret, hide_env_values = true)]
    pub admin_token: Option<String>,

    /// How long a session token brings a guest back. A month of absence makes a new guest.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_TOKEN_TTL", default_value = "30days", value_parser = duration)]
    pub token_ttl: Duration,

    /// Who is let in.
    #[command(flatten)]
    pub sign_in: SignIn,

    /// What may be attached to messages.
    #[command(flatten)]
    pub attachments: Attachments,

    /// How many messages a session may send in a second, for long. Nobody types that fast; a runaway bot is slowed, and
    /// told when to try again.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_SEND_RATE", default_value = "50")]
    pub send_rate: NonZeroU32,

    /// How many messages a session may send at once after a pause. A pasted log of a hundred lines passes.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_SEND_BURST", default_value = "200")]
    pub send_burst: NonZeroU32,

    /// How many messages a member may send in a second, for long, over all their sessions and calls to this service.
    /// Two sessions' worth: more tabs do not make a member louder.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_MEMBER_SEND_RATE", default_value = "100")]
    pub member_send_rate: NonZeroU32,

    /// How many messages a member may send at once after a pause, over all their sessions and calls to this service.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_MEMBER_SEND_BURST", default_value = "400")]
    pub member_send_burst: NonZeroU32,

    /// How many joins a session may ask for in a second, for long. Each costs the store a write, and may open a room.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_JOIN_RATE", default_value = "10")]
    pub join_rate: NonZeroU32,

    /// How many joins a session may ask for at once after a pause. Enough to come back to every room that it may be in.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_JOIN_BURST", default_value = "100")]
    pub join_burst: NonZeroU32,

    /// How many other frames a session may say in a second, for long: pages of history and of members, typing, leave,
    /// read, rooms, refresh, hello. As many pages a member may ask for by calls without a session. Nobody scrolls that fast.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_FRAME_RATE", default_value = "20")]
    pub frame_rate: NonZeroU32,

    /// How many other frames a session may say at once after a pause. A large room's roster, page by page, passes.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_FRAME_BURST", default_value = "100")]
    pub frame_burst: NonZeroU32,

    /// How many times in a second a session's rooms are told that its member is writing. More are answered and not
    /// told: the others see it for longer than that anyway.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_TYPING_RATE", default_value = "1")]
    pub typing_rate: NonZeroU32,

    /// How many times at once after a pause a session's rooms are told that its member is writing. A few rooms' worth.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_TYPING_BURST", default_value = "5")]
    pub typing_burst: NonZeroU32,

    /// How many times in a second a member may ask for their rooms, for long. Each time costs the store up to 100 scripts,
    /// which look at up to 200 messages each; what changes afterwards is heard from the rooms.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_ROOMS_RATE", default_value = "1")]
    pub rooms_rate: NonZeroU32,

    /// How many times at once after a pause a member may ask for their rooms. A few tabs that come back together.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_ROOMS_BURST", default_value = "10")]
    pub rooms_burst: NonZeroU32,

    /// How long it is remembered up to where someone who signed in has read a room, after they read there last; and which
    /// rooms they joined, after the last of them; like `30d`. Each costs the store some 230 bytes. Longer than a holiday.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_REMEMBER_USERS", default_value = "30d", value_parser = remembrance)]
    pub remember_users: Duration,

    /// The same for guests, like `1d`. Most never come back: of 10,000 guests a day who read three rooms each the store has
    /// some 9 MB, and would have 270 MB if it were a month.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_REMEMBER_GUESTS", default_value = "1d", value_parser = remembrance)]
    pub remember_guests: Duration,

    /// How many rooms a session may be in. Every room costs each of its sessions a place in each list of heads.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_ROOMS_PER_SESSION", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rooms_per_session: u32,

    /// How many rooms may be open at once in this service: those that somebody here is in, and those that were left
    /// less than half a minute ago. Each holds its last messages in memory, at most 2 MB of the longest, and costs the
    /// store a question every 4 s. When they are that many, joins of further ones get UNAVAILABLE; sessions that come
    /// over from another service are let in all the same.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_MAX_OPEN_ROOMS", default_value_t = 20_000,
          value_parser = at_least_one)]
    pub max_open_rooms: usize,

    /// How many bytes may wait for one gateway. Some seconds of what its rooms say, beyond what the network holds; at
    /// least the 8 MiB that a room is told again at once, or it comes back several times. When it is full, or 16,384
    /// frames wait, the stream ends, and the gateway comes back for what it missed.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_LINK_QUEUE_BYTES", default_value_t = 64 << 20, value_parser = at_least_one)]
    pub link_queue_bytes: usize,

    /// How many bytes may wait for one bot. When it is full, or 16,384 frames wait, its stream ends, and it comes back
    /// with `since`.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_BOT_QUEUE_BYTES", default_value_t = 8 << 20, value_parser = at_least_one)]
    pub bot_queue_bytes: usize,

    /// How often gateways and bots are pinged on their connections, and how long their answer may take, like `2500ms`.
    /// One that vanished without a word is noticed after twice this; its members go one lease later.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_KEEPALIVE", default_value = "2500ms", value_parser = duration)]
    pub keepalive: Duration,

    /// How many bots may be connected at once to this service. Each may hold `BOT_QUEUE_BYTES` of unread frames.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_MAX_BOTS", default_value_t = 1000)]
    pub max_bots: usize,

    /// How often a bot hears a heartbeat.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_HEARTBEAT", default_value = "25s", value_parser = duration)]
    pub heartbeat: Duration,

    /// How long gateways and bots have to move to another service when this one is asked to stop.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_DRAIN", default_value = "5s", value_parser = duration)]
    pub drain: Duration,

    /// Which log lines are written: error, warn, info, debug, or by module as in `warn,room_service=debug`.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_LOG", default_value = "info")]
    pub log: LogFilter,

    /// How log lines look: text for a person, json for a collector.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// Where traces go: a collector beside this program that takes OTLP over gRPC, like `http://127.0.0.1:4317`. Unset,
    /// nothing is traced, and tracing costs nothing. Traces hold no texts, names or addresses.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<Collector>,

    /// Of how many messages that come in here the way is traced, from 0 to 1. One in a hundred by default: enough to
    /// see where time goes, and seldom enough that the collector is no load. A traced message stays so wherever it goes.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_TRACE_RATIO", default_value = "0.01")]
    pub trace_ratio: Ratio,
}

impl Together for Settings {
    fn conflicts(&self) -> Vec<String> {
        let mut conflicts = self.tls.conflicts();
        conflicts.extend(self.sign_in.check().err().into_iter().flatten());
        conflicts.extend(self.attachments.conflict());
        conflicts
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it is at least 1".to_owned()),
        Ok(count) => Ok(count),
        Err(error) => Err(error.to_string()),
    }
}

fn remembrance(text: &str) -> Result<Duration, String> {
    const MOST: Duration = Duration::from_hours(24 * 3650);
    let time = duration(text)?;
    if time > MOST { Err("it is at most 3650d".to_owned()) } else { Ok(time) }
}

fn redis_url(url: &str) -> Result<String, String> {
    RedisStore::check_url(url)?;
    Ok(url.to_owned())
}

fn redis_ca(file: &str) -> Result<PathBuf, String> {
    let file = PathBuf::from(file);
    RedisStore::check_ca(&file)?;
    Ok(file)
}

fn secret(secret: &str) -> Result<String, String> {
    if secret.len() < 16 { Err("it has at least 16 characters".to_owned()) } else { Ok(secret.to_owned()) }
}
