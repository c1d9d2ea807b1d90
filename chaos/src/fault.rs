//! What is done to a fleet. Each fault is real: a signal to a process, packets that are dropped, a command to Redis.

use std::{io, time::Duration};

use rand::{RngExt as _, rngs::StdRng};
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use crate::fleet::{Fleet, Kind, Part, Redis, Storage, own_address};

/// How long something stays dead or frozen.
const DOWN: Duration = Duration::from_secs(1);
const FROZEN: Duration = Duration::from_secs(6);
/// How long a gateway stays frozen: longer than its members wait for a word.
const GATEWAY_FROZEN: Duration = Duration::from_secs(9);
/// How long packets are dropped: longer than it may take to heal.
const BLACK_HOLE: Duration = Duration::from_secs(12);

/// One way to break a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Nothing,
    GatewayKilled,
    GatewayFrozen,
    RoomServicesKilled,
    RedisKilled,
    RoomServicesFrozen,
    RedisFrozen,
    TopicsCut,
    LinksBlackHoled,
    RedisBlackHoled,
    RoomServicesRolled,
    GatewaysRolled,
    ClockSkewed,
    AcksLost,
    Storm,
    PrimaryKilled,
    PrimaryKilledWithAckReplica,
    PrimaryFrozenWithAckReplica,
    ClusterPrimaryKilled,
    SlotMoved,
}

impl Fault {
    pub(crate) const ALL: [Self; 20] = [
        Self::Nothing,
        Self::GatewayKilled,
        Self::GatewayFrozen,
        Self::RoomServicesKilled,
        Self::RedisKilled,
        Self::RoomServicesFrozen,
        Self::RedisFrozen,
        Self::TopicsCut,
        Self::LinksBlackHoled,
        Self::RedisBlackHoled,
        Self::RoomServicesRolled,
        Self::GatewaysRolled,
        Self::ClockSkewed,
        Self::AcksLost,
        Self::Storm,
        Self::PrimaryKilled,
        Self::PrimaryKilledWithAckReplica,
        Self::PrimaryFrozenWithAckReplica,
        Self::ClusterPrimaryKilled,
        Self::SlotMoved,
    ];
    /// Those of the short form, which needs no packet filter and no other clock.
    pub(crate) const SHORT: [Self; 5] = [
        Self::GatewayKilled,
        Self::RoomServicesKilled,
        Self::RedisKilled,
        Self::TopicsCut,
        Self::GatewaysRolled,
    ];

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::GatewayKilled => "a gateway killed",
            Self::GatewayFrozen => "a gateway frozen for 9 s",
            Self::RoomServicesKilled => "each room service killed",
            Self::RedisKilled => "Redis killed",
            Self::RoomServicesFrozen => "each room service frozen for 6 s",
            Self::RedisFrozen => "Redis frozen for 6 s",
            Self::TopicsCut => "topics cut 10 times",
            Self::LinksBlackHoled => "each room service's Links black-holed for 12 s",
            Self::RedisBlackHoled => "each room service's Redis black-holed for 12 s",
            Self::RoomServicesRolled => "all room services rolled",
            Self::GatewaysRolled => "all gateways rolled",
            Self::ClockSkewed => "a room service's clock an hour ahead",
            Self::AcksLost => "30 % of acks lost",
            Self::Storm => "six of these at random",
            Self::PrimaryKilled => "Sentinel: the primary killed",
            Self::PrimaryKilledWithAckReplica => "Sentinel: the primary killed, ack=replica",
            Self::PrimaryFrozenWithAckReplica => "Sentinel: the primary frozen for 6 s, ack=replica",
            Self::ClusterPrimaryKilled => "Cluster: a primary killed",
            Self::SlotMoved => "Cluster: a room's slot moved",
        }
    }

    /// What it is to be done to.
    pub(crate) fn storage(self) -> Storage {
        let (kind, ack) = match self {
            Self::PrimaryKilled => (Kind::Sentinels, "primary"),
            Self::PrimaryKilledWithAckReplica | Self::PrimaryFrozenWithAckReplica => {
                (Kind::Sentinels, "replica")
            }
            Self::ClusterPrimaryKilled | Self::SlotMoved => (Kind::Cluster, "primary"),
            _ => (Kind::Alone, "primary"),
        };
        Storage { kind, ack }
    }

    /// Whether a replica takes over that need not have everything, since acknowledgements did not wait for it.
    pub(crate) fn may_lose(self) -> bool {
        matches!(self, Self::PrimaryKilled | Self::ClusterPrimaryKilled)
    }

    /// Whether another run of a Redis server goes on with the rooms.
    pub(crate) fn begins_epoch(self) -> bool {
        matches!(
            self,
            Self::RedisKilled
                | Self::PrimaryKilled
                | Self::PrimaryKilledWithAckReplica
                | Self::PrimaryFrozenWithAckReplica
                | Self::ClusterPrimaryKilled
        )
    }

    /// Whether browsers' connections end by it: they do, they may, or they must not.
    pub(crate) fn closes_browsers(self) -> Option<bool> {
        match self {
            Self::GatewayKilled | Self::GatewayFrozen => Some(true),
            Self::Storm => None,
            _ => Some(false),
        }
    }

    /// When nobody may be in a roster any more who has gone. While Redis is away no lease can be renewed, so after it
    /// nobody is reaped for another lease.
    pub(crate) fn haunts_for(self) -> Duration {
        Duration::from_secs(if self == Self::Storm { 35 } else { 20 })
    }

    /// Whether members may die with their gateway.
    pub(crate) fn kills_gateways(self) -> bool {
        matches!(self, Self::GatewayKilled | Self::Storm)
    }

    /// Does it, and says when what was broken worked again, or could. What there are two of is broken one after the
    /// other, since a gateway's Link may be at either.
    pub(crate) async fn strike(self, fleet: &mut Fleet, rng: &mut StdRng) -> io::Result<Vec<Instant>> {
        let which = rng.random_range(0..2);
        match self {
            Self::Nothing | Self::AcksLost => Ok(vec![Instant::now()]),
            Self::GatewayKilled => kill(&mut fleet.gateways[which..=which]).await,
            Self::GatewayFrozen => freeze(&fleet.gateways[which..=which], GATEWAY_FROZEN).await,
            Self::GatewaysRolled => roll(&mut fleet.gateways).await,
            Self::RoomServicesKilled => kill(&mut fleet.room_services).await,
            Self::RoomServicesFrozen => freeze(&fleet.room_services, FROZEN).await,
            Self::RoomServicesRolled => roll(&mut fleet.room_services).await,
            Self::ClockSkewed => skew(&mut fleet.room_services).await,
            Self::LinksBlackHoled => black_hole_links(&fleet.room_services).await,
            Self::RedisKilled
            | Self::RedisFrozen
            | Self::RedisBlackHoled
            | Self::TopicsCut
            | Self::PrimaryKilled
            | Self::PrimaryKilledWithAckReplica
            | Self::PrimaryFrozenWithAckReplica
            | Self::ClusterPrimaryKilled
            | Self::SlotMoved => self.strike_redis(&mut fleet.redis, rng).await,
            Self::Storm => {
                let mut mended = Vec::new();
                for _ in 0..6 {
                    let wind = WINDS[rng.random_range(0..WINDS.len())];
                    mended = Box::pin(wind.strike(fleet, rng)).await?;
                }
                Ok(mended)
            }
        }
    }
}

impl Fault {
    async fn strike_redis(self, redis: &mut Redis, rng: &mut StdRng) -> io::Result<Vec<Instant>> {
        let rooms = redis.rooms().await?;
        match (self, redis) {
            (Self::TopicsCut, redis) => {
                let mut cut = Vec::new();
                for _ in 0..10 {
                    redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]).await?;
                    cut.push(Instant::now());
                    sleep(Duration::from_millis(rng.random_range(50..500))).await;
                }
                Ok(cut)
            }
            (Self::RedisKilled, Redis::Alone(redis)) => {
                redis.process.kill().await?;
                sleep(DOWN).await;
                redis.restart().await?;
                Ok(vec![Instant::now()])
            }
            (Self::RedisFrozen, Redis::Alone(redis)) => {
                redis.process.freeze()?;
                sleep(FROZEN).await;
                redis.process.thaw()?;
                Ok(vec![Instant::now()])
            }
            (Self::RedisBlackHoled, Redis::Alone(redis)) => black_hole_redis(redis.port).await,
            (Self::PrimaryFrozenWithAckReplica, Redis::Sentinels(sentinels)) => {
                let primary = sentinels.primary().await;
                primary.pause().await;
                let frozen = Instant::now();
                sleep(FROZEN).await;
                primary.resume().await;
                Ok(vec![frozen])
            }
            (_, Redis::Sentinels(sentinels)) => {
                let port = sentinels.primary().await.port();
                let primary = sentinels.servers.iter_mut().find(|server| server.port() == port);
                primary.ok_or_else(|| io::Error::other("there is no primary"))?.kill().await;
                Ok(vec![Instant::now()])
            }
            (Self::SlotMoved, Redis::Cluster(cluster)) => {
                cluster.move_slot(&format!("{{{}}}", rooms[0]), 0, 1).await;
                Ok(vec![Instant::now()])
            }
            (_, Redis::Cluster(cluster)) => {
                cluster.nodes[0].kill().await;
                Ok(vec![Instant::now()])
            }
            (fault, Redis::Alone(_)) => unreachable!("{fault:?} is of another storage"),
        }
    }
}

/// What blows in a storm.
const WINDS: [Fault; 5] = [
    Fault::GatewayKilled,
    Fault::RoomServicesKilled,
    Fault::RedisKilled,
    Fault::TopicsCut,
    Fault::GatewaysRolled,
];

/// Another one stands, so the clock runs from the kill.
async fn kill(parts: &mut [Part]) -> io::Result<Vec<Instant>> {
    let mut killed = Vec::new();
    for part in parts {
        part.process.kill().await?;
        killed.push(Instant::now());
        sleep(DOWN).await;
        part.restart().await?;
    }
    Ok(killed)
}

async fn freeze(parts: &[Part], time: Duration) -> io::Result<Vec<Instant>> {
    let mut frozen = Vec::new();
    for Part { process, .. } in parts {
        process.freeze()?;
        frozen.push(Instant::now());
        sleep(time).await;
        process.thaw()?;
    }
    Ok(frozen)
}

/// As a deploy does: one after the other is asked to end, and started again.
async fn roll(parts: &mut [Part]) -> io::Result<Vec<Instant>> {
    let mut ended = Vec::new();
    for part in parts {
        part.process.end().await?;
        ended.push(Instant::now());
        part.restart().await?;
    }
    Ok(ended)
}

/// All Links move to a room service whose clock is an hour ahead.
async fn skew(room_services: &mut [Part]) -> io::Result<Vec<Instant>> {
    let (wrong, right) = room_services.split_at_mut(1);
    wrong[0].process.environment(vec![
        ("LD_PRELOAD".to_owned(), faketime().await?),
        ("FAKETIME".to_owned(), "+1h".to_owned()),
        ("DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()),
    ]);
    let mut moved = roll(wrong).await?;
    moved.extend(roll(right).await?);
    Ok(moved)
}

async fn black_hole_links(room_services: &[Part]) -> io::Result<Vec<Instant>> {
    let mut dug = Vec::new();
    for room_service in room_services {
        let port = room_service.address.rsplit(':').next().unwrap_or_default();
        let hole = BlackHole::dig(&[&["--dport", port], &["--sport", port]]).await?;
        dug.push(Instant::now());
        sleep(BLACK_HOLE).await;
        hole.fill().await?;
    }
    Ok(dug)
}

/// The other room service has its Redis, so the clock runs from the first packet that is lost.
async fn black_hole_redis(port: u16) -> io::Result<Vec<Instant>> {
    let port = port.to_string();
    let mut dug = Vec::new();
    for room_service in 0..2 {
        let address = own_address(room_service);
        let (there, back) = (["--dport", &port, "-d", &address], ["--sport", &port, "-s", &address]);
        let hole = BlackHole::dig(&[&there, &back]).await?;
        dug.push(Instant::now());
        sleep(BLACK_HOLE).await;
        hole.fill().await?;
    }
    Ok(dug)
}

/// Packets that the kernel drops without a word, in a network namespace of our own.
struct BlackHole {
    rules: Vec<Vec<String>>,
}

impl BlackHole {
    async fn dig(matches: &[&[&str]]) -> io::Result<Self> {
        let mut rules = Vec::new();
        for matching in matches {
            let rule: Vec<String> = ["INPUT", "-p", "tcp"]
                .iter()
                .chain(*matching)
                .chain(&["-j", "DROP"])
                .map(ToString::to_string)
                .collect();
            run("iptables", ["-w", "-A"].into_iter().chain(rule.iter().map(String::as_str))).await?;
            rules.push(rule);
        }
        Ok(Self { rules })
    }

    async fn fill(self) -> io::Result<()> {
        for rule in self.rules {
            run("iptables", ["-w", "-D"].into_iter().chain(rule.iter().map(String::as_str))).await?;
        }
        Ok(())
    }
}

pub(crate) async fn run<'a>(program: &str, args: impl IntoIterator<Item = &'a str>) -> io::Result<()> {
    let output = Command::new(program)
        .args(args)
        .output()
        .await
        .map_err(|error| io::Error::other(format!("{program}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

/// Where Debian's libfaketime lies.
async fn faketime() -> io::Result<String> {
    let output = Command::new("sh")
        .args(["-c", "ls /usr/lib/*/faketime/libfaketimeMT.so.1 2>/dev/null"])
        .output()
        .await?;
    match String::from_utf8_lossy(&output.stdout).lines().next() {
        Some(library) => Ok(library.to_owned()),
        None => Err(io::Error::other("libfaketime is not there: apt-get install libfaketime")),
    }
}
