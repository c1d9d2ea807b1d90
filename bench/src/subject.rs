//! What is measured: Parlor's release programs, or what it is compared with. Each has processes of its own, and starts
//! anew for each run.

use std::{
    env, io,
    path::{Path, PathBuf},
    time::Duration,
};

use testkit::{Program, RedisServer, eventually, free_port, http_get};
use tokio::net::TcpStream;

use crate::{
    dialect::{Dialect, number_after},
    process,
};

/// What may be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Parlor {
        gateways: usize,
        room_services: usize,
    },
    Floor {
        frames_a_write: usize,
    },
    Sample,
    /// Parlor's store in Redis, without anything around it.
    Store,
}

/// One gateway and one room service.
pub(crate) const PARLOR: Subject = Subject::Parlor { gateways: 1, room_services: 1 };
/// A frame in each write.
pub(crate) const FLOOR: Subject = Subject::Floor { frames_a_write: 1 };

/// Which of the processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tier {
    /// Where clients connect. All there is, but for Parlor.
    Gateway,
    RoomService,
    Redis,
}

/// A subject that is ready.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) dialect: Dialect,
    /// Where clients connect, in turn.
    pub(crate) addresses: Vec<String>,
    programs: Vec<(Tier, Program)>,
    /// Where Parlor's gateways tell of themselves.
    gateway_admins: Vec<String>,
    redis: Option<RedisServer>,
}

impl Subject {
    pub(crate) fn words(self) -> String {
        match self {
            PARLOR => "parlor".to_owned(),
            Self::Parlor { gateways, room_services } => format!("parlor {gateways}+{room_services}"),
            Self::Floor { frames_a_write: 1 } => "floor".to_owned(),
            Self::Floor { frames_a_write } => format!("floor, {frames_a_write} frames a write"),
            Self::Sample => "the 2017 sample's shape".to_owned(),
            Self::Store => "parlor's store".to_owned(),
        }
    }

    /// Starts it, and waits until it is ready.
    pub(crate) async fn start(self) -> io::Result<Running> {
        match self {
            Self::Parlor { gateways, room_services } => parlor(gateways, room_services).await,
            Self::Floor { frames_a_write } => floor(frames_a_write).await,
            Self::Sample => sample().await,
            Self::Store => store().await,
        }
    }
}

impl Running {
    /// The CPU time that these tiers have used.
    pub(crate) fn cpu(&self, tiers: &[Tier]) -> io::Result<Duration> {
        self.pids(tiers).map(process::cpu).sum()
    }

    /// The memory that these tiers hold, in bytes.
    pub(crate) fn rss(&self, tiers: &[Tier]) -> io::Result<u64> {
        self.pids(tiers).map(process::rss).sum()
    }

    /// The process of its Redis.
    pub(crate) fn redis_id(&self) -> Option<u32> {
        self.redis.as_ref().map(RedisServer::id)
    }

    /// How many scripts Redis has run.
    pub(crate) async fn scripts(&self) -> io::Result<u64> {
        let redis = self.redis.as_ref().ok_or_else(|| io::Error::other("it has no Redis"))?;
        let stats = redis.ask(&["INFO", "commandstats"]).await;
        // Before the first one it is not in the list.
        Ok(number_after(stats.as_bytes(), b"cmdstat_evalsha:calls=").unwrap_or_default())
    }

    /// How often a gateway has dropped what waited for a session that read too slowly.
    pub(crate) async fn outbox_drops(&self) -> io::Result<u64> {
        let mut drops = 0;
        for admin in &self.gateway_admins {
            let answer = http_get(admin, "/metrics").await;
            let (_, metrics) = answer.ok_or_else(|| io::Error::other("the gateway does not answer"))?;
            // Before the first one it is not in the list.
            drops +=
                number_after(metrics.as_bytes(), b"\nparlor_gateway_outbox_drops_total ").unwrap_or_default();
        }
        Ok(drops)
    }

    fn pids<'a>(&'a self, tiers: &'a [Tier]) -> impl Iterator<Item = u32> + 'a {
        let programs = self.programs.iter().filter(|(tier, _)| tiers.contains(tier));
        let redis = self.redis.iter().filter(|_| tiers.contains(&Tier::Redis));
        programs.map(|(_, program)| program.id()).chain(redis.map(RedisServer::id))
    }
}

async fn parlor(n_gateways: usize, n_room_services: usize) -> io::Result<Running> {
    let redis = RedisServer::start().await;
    let (url, mut programs) = (redis.url(), Vec::new());
    let (mut admins, mut room_services, mut addresses) = (Vec::new(), Vec::new(), Vec::new());
    let mut start = |tier, name, flags: &[&str], upstream: &[&str]| {
        let (address, admin) = (local(free_port()), local(free_port()));
        let own = ["--listen", &address, "--admin-listen", &admin, "--log", "warn"];
        let program = Program::start(&sibling(name)?, &[&own, flags, upstream].concat());
        programs.push((tier, program));
        admins.push(admin);
        Ok::<_, io::Error>(address)
    };
    for _ in 0..n_room_services {
        let address = start(Tier::RoomService, "room-service", &UNLIMITED_SENDS, &["--redis-url", &url])?;
        room_services.push(format!("http://{address}"));
    }
    let room_services = room_services.join(",");
    for _ in 0..n_gateways {
        let upstream = ["--room-service", &room_services];
        addresses.push(start(Tier::Gateway, "gateway", &ONE_ADDRESS, &upstream)?);
    }
    for admin in &admins {
        eventually("a part is ready", async || {
            http_get(admin, "/readyz").await.filter(|(status, _)| *status == 200)
        })
        .await;
    }
    let gateway_admins = admins.split_off(n_room_services);
    Ok(Running { dialect: Dialect::Parlor, addresses, programs, gateway_admins, redis: Some(redis) })
}

/// All clients come from one address, and a run is too short for heartbeats.
const ONE_ADDRESS: [&str; 12] = [
    "--max-sessions-per-address",
    "100000",
    "--session-rate-per-address",
    "100000",
    "--session-burst-per-address",
    "100000",
    "--max-sessions",
    "20000",
    "--max-connections",
    "20000",
    "--heartbeat",
    "10m",
];

/// A few members say what a large room would.
const UNLIMITED_SENDS: [&str; 8] = [
    "--send-rate",
    "1000000",
    "--send-burst",
    "1000000",
    "--member-send-rate",
    "1000000",
    "--member-send-burst",
    "1000000",
];

async fn floor(frames_a_write: usize) -> io::Result<Running> {
    let (address, own) = (local(free_port()), env::current_exe()?);
    let frames_a_write = frames_a_write.to_string();
    let flags = ["floor", "--listen", &address, "--frames-a-write", &frames_a_write];
    alone(Dialect::Parlor, address.clone(), Program::start(&own.to_string_lossy(), &flags), None).await
}

async fn sample() -> io::Result<Running> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample");
    if !folder.join("node_modules").exists() {
        return Err(io::Error::other("bench/sample is not installed: npm ci"));
    }
    let (redis, port) = (RedisServer::start().await, free_port());
    let (server, redis_port) = (folder.join("server.js"), redis.port().to_string());
    let flags = [&*server.to_string_lossy(), &port.to_string(), &redis_port];
    let program = Program::start(&node()?, &flags);
    alone(Dialect::SocketIo, local(port), program, Some(redis)).await
}

async fn store() -> io::Result<Running> {
    let redis = RedisServer::start().await;
    let program = Program::start(&sibling("examples/append")?, &[&redis.url()]);
    let programs = vec![(Tier::RoomService, program)];
    let running = Running {
        dialect: Dialect::Parlor,
        addresses: Vec::new(),
        programs,
        gateway_admins: Vec::new(),
        redis: Some(redis),
    };
    eventually("it appends", async || running.scripts().await.ok().filter(|calls| *calls > 0)).await;
    Ok(running)
}

/// A subject of one program, once it listens.
async fn alone(
    dialect: Dialect,
    address: String,
    program: Program,
    redis: Option<RedisServer>,
) -> io::Result<Running> {
    eventually("it listens", async || TcpStream::connect(&address).await.ok()).await;
    let programs = vec![(Tier::Gateway, program)];
    Ok(Running { dialect, addresses: vec![address], programs, gateway_admins: Vec::new(), redis })
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Our programs lie beside this one.
fn sibling(program: &str) -> io::Result<String> {
    let path = env::current_exe()?.with_file_name(program);
    let there = path.exists().then(|| path.to_string_lossy().into_owned());
    there.ok_or_else(|| io::Error::other(format!("{} is not there: make bench builds it", path.display())))
}

/// Where `node` is: programs are started without our environment.
fn node() -> io::Result<String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found: Option<PathBuf> =
        env::split_paths(&path).map(|folder| folder.join("node")).find(|path| path.exists());
    found
        .map(|path| path.to_string_lossy().into_owned())
        .ok_or_else(|| io::Error::other("node is not installed"))
}
