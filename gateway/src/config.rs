//! Every knob of the gateway, with its unit, its default and its reason.
//!
//! The doc comments are what `--help` prints.

use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use clap::{ArgAction, Parser, builder::BoolishValueParser};
use http::Uri;
use runtime::{
    settings::{Origins as PictureOrigins, Together, duration},
    telemetry::{LogFilter, LogFormat},
    tls::ServerName,
    traces::{Collector, Ratio},
};

use crate::{files::FileSettings, origin::Origins, tls::TlsSettings};

/// The gateway: terminates browsers' WebSockets, serves the web client, and speaks to one room service.
#[derive(Clone, Debug, Parser)]
#[command(name = "gateway", version = runtime::build::version())]
pub struct Settings {
    /// Address and port for browsers. Loopback by default: going public is a decision.
    #[arg(long, env = "PARLOR_GATEWAY_LISTEN", default_value = "127.0.0.1:3000")]
    pub listen: SocketAddr,

    /// Address and port of `/metrics`, `/livez` and `/readyz` for operators, apart from what users reach.
    #[arg(long, env = "PARLOR_GATEWAY_ADMIN_LISTEN", default_value = "127.0.0.1:9464")]
    pub admin_listen: SocketAddr,

    /// Where room services are: one `http://host:port`, or several with commas. A name is resolved at each dial and
    /// one of its addresses is taken at random, so that many gateways spread over many room services. With `https` it
    /// is dialled by TLS, and its certificate is to bear that host's name.
    #[arg(long, env = "PARLOR_GATEWAY_ROOM_SERVICE", default_value = "http://127.0.0.1:50051")]
    pub room_service: RoomServices,

    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc here would become that of the whole command")]
    pub tls: TlsSettings,

    /// Directory of the built web client. Without it the doors work, and `/` says how to build it. Its `build.txt`, if
    /// there is one, is told to browsers by `welcome`, so that a page knows when it is out of date.
    #[arg(long, env = "PARLOR_GATEWAY_WEB_ROOT", default_value = "web/dist")]
    pub web_root: PathBuf,

    /// Which pages may open a session: origins like `https://chat.example` with commas, or `*` for all. Unset, a
    /// page may if it came from the host that it calls, which is what keeps other sites from speaking for a visitor.
    #[arg(long, env = "PARLOR_GATEWAY_ALLOWED_ORIGINS")]
    pub allowed_origins: Option<Origins>,

    /// Where pages may load pictures of members from, besides this host: origins like `https://pictures.example` with
    /// commas. None by default: whoever serves a picture learns who looks. The room
    /// services have the same list (`PARLOR_ROOM_SERVICE_ALLOWED_PICTURES`).
    #[arg(long, env = "PARLOR_GATEWAY_ALLOWED_PICTURES", default_value = "")]
    pub allowed_pictures: PictureOrigins,

    /// How many proxies stand in front, each of which adds its caller to X-Forwarded-For. 0 by default: the header
    /// is then whatever a client writes, and only the peer's own address counts.
    #[arg(long, env = "PARLOR_GATEWAY_TRUSTED_HOPS", default_value_t = 0)]
    pub trusted_hops: usize,

    /// Bytes that one frame from a browser, or the body of a request, may have. The longest text fits several times; a
    /// longer frame closes the session with 1009 before any of it is kept, a longer body gets 413. At most 200,000, which a room service reads.
    #[arg(long, env = "PARLOR_GATEWAY_MAX_FRAME_BYTES", default_value_t = 65_536, value_parser = frame_bytes)]
    pub max_frame_bytes: usize,

    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc here would become that of the whole command")]
    pub files: FileSettings,

    /// Bytes that may wait for one session before it counts as a slow reader. Enough for a few seconds of a busy
    /// room. When it is full the queue is dropped, and the session is brought up to date from history when it reads
    /// again.
    #[arg(long, env = "PARLOR_GATEWAY_OUTBOX_BYTES", default_value_t = 1024 * 1024)]
    pub outbox_bytes: usize,

    /// Sessions at once. Sized for a small machine at about 20 KB each. When it is full, upgrades get 503 with
    /// Retry-After, which a load balancer takes to another gateway.
    #[arg(long, env = "PARLOR_GATEWAY_MAX_SESSIONS", default_value_t = 10_000)]
    pub max_sessions: usize,

    /// Sessions at once from one address (an IPv6 /64 is one). Enough for an office behind one address. One more is
    /// closed with 4003, so that one host cannot take all places.
    #[arg(long, env = "PARLOR_GATEWAY_MAX_SESSIONS_PER_ADDRESS", default_value_t = 256)]
    pub max_sessions_per_address: usize,

    /// New sessions per second from one address, for long. An office that reloads its page is slower. A faster one is
    /// refused with 429 and Retry-After, which costs less than a session that is closed.
    #[arg(long, env = "PARLOR_GATEWAY_SESSION_RATE_PER_ADDRESS", default_value_t = 50,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub session_rate_per_address: u32,

    /// New sessions at once from one address after a pause. All that it may have come back together, twice.
    #[arg(long, env = "PARLOR_GATEWAY_SESSION_BURST_PER_ADDRESS", default_value_t = 512,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub session_burst_per_address: u32,

    /// Hellos with a bad token per minute from one address, and at once after a pause. All that may be open there can
    /// be told that their tokens are too old. Who says one more is closed with 4003, and new sessions from there get 429
    /// until some of it has passed.
    #[arg(long, env = "PARLOR_GATEWAY_FAILED_HELLOS_PER_ADDRESS", default_value_t = 300,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub failed_hellos_per_address: u32,

    /// Requests to the HTTP door per second from one address, for long. As much as one member may say. A faster one gets
    /// 429 with Retry-After.
    #[arg(long, env = "PARLOR_GATEWAY_CALL_RATE_PER_ADDRESS", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub call_rate_per_address: u32,

    /// Requests to the HTTP door at once from one address after a pause. A back end that comes back with what it kept.
    #[arg(long, env = "PARLOR_GATEWAY_CALL_BURST_PER_ADDRESS", default_value_t = 400,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub call_burst_per_address: u32,

    /// Requests to the HTTP door that may await the room service at once. Each takes some ms, and an answer may have a
    /// megabyte. When they are that many, the next gets 503 with Retry-After. At least 1.
    #[arg(long, env = "PARLOR_GATEWAY_MAX_CALLS", default_value_t = 64, value_parser = at_least_one)]
    pub max_calls: usize,

    /// TCP connections at once: the sessions, and room for those who fetch files. When it is full, more wait in the
    /// kernel's queue.
    #[arg(long, env = "PARLOR_GATEWAY_MAX_CONNECTIONS", default_value_t = 12_000)]
    pub max_connections: usize,

    /// How long a request's head may take, and then its body, and how long an idle connection is kept, like `5s`. A
    /// browser needs milliseconds; whoever dribbles bytes to hold a connection is cut.
    #[arg(long, env = "PARLOR_GATEWAY_HEAD_TIMEOUT", default_value = "5s", value_parser = duration)]
    pub head_timeout: Duration,

    /// How often each session gets a heartbeat and a ping, like `25s`. Less than the idle limit of the usual
    /// proxies, which is 30 s or 60 s.
    #[arg(long, env = "PARLOR_GATEWAY_HEARTBEAT", default_value = "25s", value_parser = duration)]
    pub heartbeat: Duration,

    /// How long a session may be silent beyond a heartbeat before it is closed with 4002, like `10s`. Its answer to
    /// the ping has that long to come.
    #[arg(long, env = "PARLOR_GATEWAY_HEARTBEAT_GRACE", default_value = "10s", value_parser = duration)]
    pub heartbeat_grace: Duration,

    /// How long a session may take to say hello before it is closed with 4501, like `10s`.
    #[arg(long, env = "PARLOR_GATEWAY_HELLO_TIMEOUT", default_value = "10s", value_parser = duration)]
    pub hello_timeout: Duration,

    /// Frames of one session that may await their reply. A person needs one or two. When they are that many, the
    /// session's socket is not read until one is answered. At least 1.
    #[arg(long, env = "PARLOR_GATEWAY_MAX_IN_FLIGHT", default_value_t = 8, value_parser = at_least_one)]
    pub max_in_flight: usize,

    /// How long a frame or a request may await its reply before it gets UNAVAILABLE, like `5s`.
    #[arg(long, env = "PARLOR_GATEWAY_REPLY_TIMEOUT", default_value = "5s", value_parser = duration)]
    pub reply_timeout: Duration,

    /// Pings and pongs that one session may send in a burst and per second. Each ping costs an answer; a flood of
    /// them closes the session with 4500.
    #[arg(long, env = "PARLOR_GATEWAY_MAX_PINGS_PER_SECOND", default_value_t = 10)]
    pub max_pings_per_second: u32,

    /// Bytes that may wait to go up to the room service, for all sessions together. A second or two of what it
    /// takes. When it is full, frames get UNAVAILABLE at once.
    #[arg(long, env = "PARLOR_GATEWAY_LINK_QUEUE_BYTES", default_value_t = 16 * 1024 * 1024)]
    pub link_queue_bytes: u32,

    /// Whether the clients of the 2017 sample are served, by Socket.IO at `/socket.io/`: `true` or `false`. On by
    /// default, since it takes nothing until somebody comes; a chat without such clients has one door less to watch.
    #[arg(long, env = "PARLOR_GATEWAY_SOCKETIO", default_value_t = true, action = ArgAction::Set,
          value_parser = BoolishValueParser::new())]
    pub socketio: bool,

    /// Packets that a Socket.IO connection may hold for its client, beside the outbox of its session. Enough for one
    /// write or one answer to a poll. When it is full, the rest waits in the outbox. At least 4.
    #[arg(long, env = "PARLOR_GATEWAY_SOCKETIO_PACKETS", default_value_t = 32, value_parser = socketio_packets)]
    pub socketio_packets: usize,

    /// Bytes that may wait of what one Socket.IO client said. Several frames of the largest size, and more messages than
    /// anybody types while a room service is replaced. When it is full, events are refused with `RATE_LIMITED` if they
    /// ask for an answer, else dropped: these clients cannot be told to wait.
    #[arg(long, env = "PARLOR_GATEWAY_SOCKETIO_INBOX_BYTES", default_value_t = 256 * 1024)]
    pub socketio_inbox_bytes: usize,

    /// How long what a Socket.IO client says is said again while it is refused for now, like `30s`: these clients do not
    /// try again themselves. Longer than a room service or Redis takes to be replaced.
    #[arg(long, env = "PARLOR_GATEWAY_SOCKETIO_PATIENCE", default_value = "30s", value_parser = duration)]
    pub socketio_patience: Duration,

    /// How often the room service is pinged over the Link, and how long its answer may take, like `2500ms`. One that
    /// vanished without a word is noticed after twice this, which leaves time to dial two others within the ten seconds
    /// in which everything heals.
    #[arg(long, env = "PARLOR_GATEWAY_LINK_KEEPALIVE", default_value = "2500ms", value_parser = duration)]
    pub link_keepalive: Duration,

    /// How long there may be no Link before the gateway says that it is not ready, like `3s`. A room service that
    /// restarts is quicker.
    #[arg(long, env = "PARLOR_GATEWAY_LINK_GRACE", default_value = "3s", value_parser = duration)]
    pub link_grace: Duration,

    /// How long a room service may leave a probe unanswered before the gateway says that it is not ready, like `5s`. A
    /// busy one is quicker. Keep it under 8 s: then what does not deliver is known within 10 s.
    #[arg(long, env = "PARLOR_GATEWAY_DELIVERY_GRACE", default_value = "5s", value_parser = duration)]
    pub delivery_grace: Duration,

    /// After about how long a healthy Link is replaced, like `1h`, so that load spreads over room services that
    /// came later. Each waits between half and one and a half of it.
    #[arg(long, env = "PARLOR_GATEWAY_LINK_AGE", default_value = "1h", value_parser = duration)]
    pub link_age: Duration,

    /// How long sessions have to move elsewhere after SIGTERM, like `20s`. They are told in batches over the first
    /// half of it; whoever is left at its end is closed with 4001. Keep it under what your orchestrator waits.
    #[arg(long, env = "PARLOR_GATEWAY_DRAIN", default_value = "20s", value_parser = duration)]
    pub drain: Duration,

    /// Which log lines are written: `info`, or finer like `warn,gateway=debug`.
    #[arg(long, env = "PARLOR_GATEWAY_LOG", default_value = "info")]
    pub log: LogFilter,

    /// How log lines look: `text` for a person, `json` for a collector.
    #[arg(long, env = "PARLOR_GATEWAY_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// Where traces go: a collector beside this program that takes OTLP over gRPC, like `http://127.0.0.1:4317`. Unset,
    /// nothing is traced, and tracing costs nothing. Traces hold no texts, names or addresses.
    #[arg(long, env = "PARLOR_GATEWAY_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<Collector>,

    /// Of how many messages that come in here the way is traced, from 0 to 1. One in a hundred by default: enough to
    /// see where time goes, and seldom enough that the collector is no load. A traced message stays so wherever it goes.
    #[arg(long, env = "PARLOR_GATEWAY_TRACE_RATIO", default_value = "0.01")]
    pub trace_ratio: Ratio,
}

impl Settings {
    /// What a client is told of `heartbeat`.
    pub(crate) fn heartbeat_seconds(&self) -> u32 {
        u32::try_from(self.heartbeat.as_secs()).unwrap_or(u32::MAX).max(1)
    }

    /// How long nothing may be heard of a client.
    pub(crate) fn silence(&self) -> Duration {
        self.heartbeat + self.heartbeat_grace
    }
}

impl Together for Settings {
    fn conflicts(&self) -> Vec<String> {
        self.tls.conflicts(self.room_service.by_tls())
    }
}

/// The addresses of room services, at least one.
#[derive(Clone, Debug)]
pub struct RoomServices(Vec<Uri>);

impl RoomServices {
    /// Each of them, as `http://host:port` or `https://host:port`.
    pub fn uris(&self) -> &[Uri] {
        &self.0
    }

    /// Whether one of them is reached by TLS.
    pub(crate) fn by_tls(&self) -> bool {
        self.0.iter().any(is_tls)
    }
}

impl FromStr for RoomServices {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri = |text: &str| {
            let uri: Uri = text.trim().parse().map_err(|error| format!("{text:?}: {error}"))?;
            let known = matches!(uri.scheme_str(), Some("http" | "https"));
            if !known || uri.host().is_none() || uri.path() != "/" {
                return Err(format!("{text:?} is not like http://host:port or https://host:port"));
            }
            if is_tls(&uri) && ServerName::try_from(host(&uri)).is_err() {
                return Err(format!("{text:?} has no host that a certificate can name"));
            }
            Ok(uri)
        };
        text.split(',').map(uri).collect::<Result<_, _>>().map(Self)
    }
}

/// Whether `uri` is reached by TLS.
pub(crate) fn is_tls(uri: &Uri) -> bool {
    uri.scheme_str() == Some("https")
}

/// The host of `uri`, without the brackets of an IPv6 address.
pub(crate) fn host(uri: &Uri) -> &str {
    uri.host().unwrap_or_default().trim_matches(['[', ']'])
}

pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it is at least 1".to_owned()),
        Ok(count) => Ok(count),
        Err(error) => Err(format!("{error}")),
    }
}

fn socketio_packets(text: &str) -> Result<usize, String> {
    match at_least_one(text)? {
        // A greeting, a history and a ping at once.
        packets if packets < 4 => Err("it is at least 4".to_owned()),
        packets => Ok(packets),
    }
}

fn frame_bytes(text: &str) -> Result<usize, String> {
    match at_least_one(text)? {
        bytes if bytes > 200_000 => Err("it is at most 200000".to_owned()),
        bytes => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_flags_the_settings_are_the_contracts() {
        let settings = Settings::parse_from(["gateway"]);
        assert_eq!(settings.listen.to_string(), "127.0.0.1:3000");
        assert_eq!(settings.admin_listen.to_string(), "127.0.0.1:9464");
        assert_eq!(settings.room_service.uris()[0].to_string(), "http://127.0.0.1:50051/");
        assert_eq!(settings.web_root, PathBuf::from("web/dist"));
        assert!(settings.allowed_origins.is_none());
        assert_eq!((settings.max_frame_bytes, settings.outbox_bytes), (65_536, 1_048_576));
    }

    #[test]
    fn several_room_services_are_told_with_commas() {
        let services: RoomServices = "http://a:1, http://rooms.internal:50051".parse().unwrap();
        assert_eq!(services.uris().len(), 2);
        assert!(!services.by_tls());
        let services: RoomServices = "http://a:1, https://[::1]:50051".parse().unwrap();
        assert!(services.by_tls());
        for bad in ["", "a:1", "ftp://a:1", "http://a:1,", "http://a:1/path", "https://-:1"] {
            assert!(bad.parse::<RoomServices>().is_err(), "{bad:?}");
        }
    }
}
