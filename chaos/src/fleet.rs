//! Two gateways, two room services and a Redis: real processes, each with a log in the round's folder.

use std::{
    env, io,
    path::{Path, PathBuf},
    time::Duration,
};

use testkit::{RedisCluster, RedisSentinels, free_port, http_get};
use tokio::{
    process::Command,
    time::{Instant, sleep, timeout},
};

use crate::process::Process;

/// How long anything may take to become ready.
const READY: Duration = Duration::from_secs(30);
/// Browsers hear from a gateway this often, and give a silent one up after two and a half times as long.
const HEARTBEAT: &str = "3s";

/// One of our programs and where it answers.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) process: Process,
    /// Host and port of its door.
    pub(crate) address: String,
    admin: String,
}

/// A whole Parlor.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) gateways: Vec<Part>,
    pub(crate) room_services: Vec<Part>,
    pub(crate) redis: Redis,
}

/// What the room services keep everything in.
#[derive(Debug)]
pub(crate) enum Redis {
    /// One that has every acknowledged write on disk.
    Alone(Box<Alone>),
    /// A primary with two replicas, and three Sentinels.
    Sentinels(RedisSentinels),
    /// Three primaries; the first has a replica.
    Cluster(RedisCluster),
}

/// A process on a port, which each room service calls by an address of its own, so that one can be cut off.
#[derive(Debug)]
pub(crate) struct Alone {
    pub(crate) process: Process,
    pub(crate) port: u16,
}

/// Which [`Redis`], and what an acknowledgement waits for (`PARLOR_ROOM_SERVICE_ACK`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Storage {
    pub(crate) kind: Kind,
    pub(crate) ack: &'static str,
}

/// See [`Redis`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Alone,
    Sentinels,
    Cluster,
}

impl Fleet {
    /// Starts everything and waits until all of it is ready.
    pub(crate) async fn start(folder: &Path, storage: Storage) -> io::Result<Self> {
        let redis = Redis::start(storage.kind, folder).await?;
        let mut room_services = Vec::new();
        for n in 0..2 {
            let url = redis.url(n);
            let flags = ["--redis-url", &url, "--ack", storage.ack, "--drain", "2s"];
            room_services.push(Part::new("room-service", n, folder, &flags)?);
        }
        let urls: Vec<String> = room_services.iter().map(|part| format!("http://{}", part.address)).collect();
        let urls = urls.join(",");
        let mut gateways = Vec::new();
        for n in 0..2 {
            let flags = [
                "--room-service",
                &urls,
                "--heartbeat",
                HEARTBEAT,
                "--drain",
                "8s",
                "--web-root",
                "/nonexistent",
            ];
            gateways.push(Part::new("gateway", n, folder, &flags)?);
        }
        let mut fleet = Self { gateways, room_services, redis };
        for part in fleet.room_services.iter_mut().chain(&mut fleet.gateways) {
            part.process.start()?;
        }
        for part in fleet.room_services.iter().chain(&fleet.gateways) {
            part.is_ready().await?;
        }
        Ok(fleet)
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.gateways.iter().map(|gateway| gateway.address.clone()).collect()
    }
}

/// The address by which room service `n` calls Redis.
pub(crate) fn own_address(n: usize) -> String {
    format!("127.0.0.{}", n + 2)
}

impl Part {
    fn new(program: &str, n: usize, folder: &Path, flags: &[&str]) -> io::Result<Self> {
        let (address, admin) = (local(free_port()), local(free_port()));
        let own = ["--listen", &address, "--admin-listen", &admin];
        let args = own.iter().chain(flags).map(ToString::to_string).collect();
        let process = Process::new(&format!("{program}-{n}"), sibling(program)?, args, folder);
        Ok(Self { process, address, admin })
    }

    /// Starts it again where it was.
    pub(crate) async fn restart(&mut self) -> io::Result<()> {
        self.process.start()?;
        self.is_ready().await
    }

    /// Waits until `/readyz` says 200.
    pub(crate) async fn is_ready(&self) -> io::Result<()> {
        until("a part is ready", READY, async || Ok(readyz(&self.admin).await)).await
    }
}

impl Redis {
    async fn start(kind: Kind, folder: &Path) -> io::Result<Self> {
        Ok(match kind {
            Kind::Alone => Self::Alone(Box::new(Alone::start(folder).await?)),
            Kind::Sentinels => Self::Sentinels(RedisSentinels::start(2).await),
            Kind::Cluster => Self::Cluster(RedisCluster::start().await),
        })
    }

    /// Where room service `n` is to find it.
    fn url(&self, n: usize) -> String {
        match self {
            Self::Alone(alone) => format!("redis://{}:{}", own_address(n), alone.port),
            Self::Sentinels(sentinels) => sentinels.url(),
            Self::Cluster(cluster) => cluster.url(),
        }
    }

    /// Two rooms. In a cluster the first one is where there is a replica, and the second one is not.
    pub(crate) async fn rooms(&self) -> io::Result<[String; 2]> {
        let Self::Cluster(_) = self else { return Ok(["chaos-a", "chaos-b"].map(str::to_owned)) };
        let (mut first, mut second) = (None, None);
        for name in ('a'..='z').map(|letter| format!("chaos-{letter}")) {
            let slot = self.ask(&["CLUSTER", "KEYSLOT", &name]).await?;
            let with_replica = slot.as_u64().is_some_and(|slot| slot <= 5460);
            let place = if with_replica { &mut first } else { &mut second };
            place.get_or_insert(name);
        }
        match (first, second) {
            (Some(first), Some(second)) => Ok([first, second]),
            _ => Err(io::Error::other("no name for a room in each part of the cluster")),
        }
    }

    /// What `redis-cli` prints as JSON.
    pub(crate) async fn ask(&self, words: &[&str]) -> io::Result<serde_json::Value> {
        match self {
            Self::Alone(alone) => alone.ask(words).await,
            Self::Sentinels(sentinels) => redis_cli(sentinels.primary().await.port(), words).await,
            // A node that may be dead is not asked the way.
            Self::Cluster(cluster) => redis_cli(cluster.nodes[1].port(), words).await,
        }
    }
}

impl Alone {
    async fn start(folder: &Path) -> io::Result<Self> {
        let port = free_port();
        let data = folder.join("redis");
        std::fs::create_dir_all(&data)?;
        let (port_word, data) = (port.to_string(), data.to_string_lossy().into_owned());
        let mut flags =
            vec!["--port", &port_word, "--save", "", "--appendonly", "yes", "--appendfsync", "always"];
        let (one, other) = (own_address(0), own_address(1));
        flags.extend(["--dir", &data, "--bind", "127.0.0.1", &one, &other]);
        let args = flags.into_iter().map(str::to_owned).collect();
        let mut alone = Self { process: Process::new("redis", "redis-server", args, folder), port };
        alone.restart().await?;
        Ok(alone)
    }

    /// Starts it where it was.
    pub(crate) async fn restart(&mut self) -> io::Result<()> {
        self.process.start()?;
        until("Redis answers", READY, async || Ok(self.ask(&["PING"]).await? == "PONG")).await
    }

    async fn ask(&self, words: &[&str]) -> io::Result<serde_json::Value> {
        redis_cli(self.port, words).await
    }
}

async fn redis_cli(port: u16, words: &[&str]) -> io::Result<serde_json::Value> {
    let asked = Command::new("redis-cli")
        .args(["-c", "-p", &port.to_string(), "--json"])
        .args(words)
        .kill_on_drop(true)
        .output();
    let answer = timeout(Duration::from_secs(5), asked).await??;
    serde_json::from_slice(&answer.stdout).map_err(|error| {
        io::Error::other(format!("redis-cli: {error}: {}", String::from_utf8_lossy(&answer.stderr)))
    })
}

/// Asks until it is so, and for at most so long. Whoever cannot answer now is asked again.
pub(crate) async fn until(
    what: &str,
    within: Duration,
    mut is_so: impl AsyncFnMut() -> io::Result<bool>,
) -> io::Result<()> {
    let end = Instant::now() + within;
    loop {
        if let Ok(true) = timeout(within, is_so()).await? {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(io::Error::other(format!("not within {within:?}: {what}")));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn readyz(admin: &str) -> bool {
    let answer = timeout(Duration::from_secs(1), http_get(admin, "/readyz")).await;
    matches!(answer, Ok(Some((200, _))))
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Our programs lie beside this one.
fn sibling(program: &str) -> io::Result<PathBuf> {
    let path = env::current_exe()?.with_file_name(program);
    if path.exists() {
        return Ok(path);
    }
    Err(io::Error::other(format!("{} is not there: cargo build --workspace --bins", path.display())))
}
