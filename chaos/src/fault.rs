//! What is done to a fleet. Each fault is real: a signal to a process, packets that are dropped, a command to Redis.

use std::{io, time::Duration};

use rand::{RngExt as _, rngs::StdRng};
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use crate::fleet::{Fleet, Part, own_address};

/// How long something stays dead or frozen.
const DOWN: Duration = Duration::from_secs(1);
const FROZEN: Duration = Duration::from_secs(6);
/// How long packets are dropped.
const BLACK_HOLE: Duration = Duration::from_secs(10);

/// One way to break a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Nothing,
    GatewayKilled,
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
}

impl Fault {
    pub(crate) const ALL: [Self; 13] = [
        Self::Nothing,
        Self::GatewayKilled,
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
            Self::RoomServicesKilled => "each room service killed",
            Self::RedisKilled => "Redis killed",
            Self::RoomServicesFrozen => "each room service frozen for 6 s",
            Self::RedisFrozen => "Redis frozen for 6 s",
            Self::TopicsCut => "topics cut 10 times",
            Self::LinksBlackHoled => "each room service's Links black-holed for 10 s",
            Self::RedisBlackHoled => "each room service's Redis black-holed for 10 s",
            Self::RoomServicesRolled => "all room services rolled",
            Self::GatewaysRolled => "all gateways rolled",
            Self::ClockSkewed => "a room service's clock an hour ahead",
            Self::AcksLost => "30 % of acks lost",
        }
    }

    /// Whether a browser's connection may end by it.
    pub(crate) fn closes_browsers(self) -> bool {
        self == Self::GatewayKilled
    }

    /// Does it, and says when what was broken worked again, or could. What there are two of is broken one after the
    /// other, since a gateway's Link may be at either.
    pub(crate) async fn strike(self, fleet: &mut Fleet, rng: &mut StdRng) -> io::Result<Vec<Instant>> {
        let mut mended = Vec::new();
        match self {
            Self::Nothing | Self::AcksLost => mended.push(Instant::now()),
            Self::GatewayKilled => {
                let gateway = &mut fleet.gateways[rng.random_range(0..2)];
                gateway.process.kill().await?;
                // The other one stands, so the clock runs from here.
                mended.push(Instant::now());
                sleep(DOWN).await;
                gateway.restart().await?;
            }
            Self::RoomServicesKilled => {
                for room_service in &mut fleet.room_services {
                    room_service.process.kill().await?;
                    mended.push(Instant::now());
                    sleep(DOWN).await;
                    room_service.restart().await?;
                }
            }
            Self::RedisKilled => {
                fleet.redis.process.kill().await?;
                sleep(DOWN).await;
                fleet.redis.process.start()?;
                fleet.redis.answers().await?;
                mended.push(Instant::now());
            }
            Self::RoomServicesFrozen => {
                for Part { process, .. } in &fleet.room_services {
                    process.freeze()?;
                    mended.push(Instant::now());
                    sleep(FROZEN).await;
                    process.thaw()?;
                }
            }
            Self::RedisFrozen => {
                fleet.redis.process.freeze()?;
                sleep(FROZEN).await;
                fleet.redis.process.thaw()?;
                mended.push(Instant::now());
            }
            Self::TopicsCut => {
                for _ in 0..10 {
                    fleet.redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]).await?;
                    mended.push(Instant::now());
                    sleep(Duration::from_millis(rng.random_range(50..500))).await;
                }
            }
            Self::LinksBlackHoled => {
                for room_service in &fleet.room_services {
                    let port = room_service.address.rsplit(':').next().unwrap_or_default();
                    let hole = BlackHole::dig(&[&["--dport", port], &["--sport", port]]).await?;
                    mended.push(Instant::now());
                    sleep(BLACK_HOLE).await;
                    hole.fill().await?;
                }
            }
            Self::RedisBlackHoled => {
                let port = fleet.redis.port.to_string();
                for n in 0..fleet.room_services.len() {
                    let address = own_address(n);
                    let (there, back) =
                        (["--dport", &port, "-d", &address], ["--sport", &port, "-s", &address]);
                    let hole = BlackHole::dig(&[&there, &back]).await?;
                    sleep(BLACK_HOLE).await;
                    hole.fill().await?;
                    mended.push(Instant::now());
                }
            }
            Self::RoomServicesRolled => {
                for room_service in &mut fleet.room_services {
                    room_service.process.end().await?;
                    mended.push(Instant::now());
                    room_service.restart().await?;
                }
            }
            Self::GatewaysRolled => {
                for gateway in &mut fleet.gateways {
                    gateway.process.end().await?;
                    mended.push(Instant::now());
                    gateway.restart().await?;
                }
            }
            Self::ClockSkewed => {
                let room_service = &mut fleet.room_services[0];
                room_service.process.kill().await?;
                mended.push(Instant::now());
                room_service.process.environment(vec![
                    ("LD_PRELOAD".to_owned(), faketime().await?),
                    ("FAKETIME".to_owned(), "+1h".to_owned()),
                    ("DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()),
                ]);
                room_service.restart().await?;
                // The Links move to where the clock is wrong.
                fleet.room_services[1].process.end().await?;
                mended.push(Instant::now());
                fleet.room_services[1].restart().await?;
            }
        }
        Ok(mended)
    }
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
