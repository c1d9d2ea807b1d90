//! What is done to a subject, and the figures that come of it.

use std::{
    io,
    time::{Duration, Instant},
};

use crate::{
    load::{Heard, Load, Pace},
    process,
    stop::pause,
    subject::{FLOOR, PARLOR, Running, Subject, Tier},
    tally::{Faults, percentile},
};

/// Before what is measured: programs grow their buffers and compile what is hot.
const WARM_UP: Duration = Duration::from_secs(2);
/// How many clients join at a time when joins are not what is measured.
const JOINS_AT_ONCE: usize = 32;
/// What slow readers are sent: with its frame as long as may be written at once.
const LONG_TEXT_BYTES: usize = 1700;
/// How many times as long as other things this is measured: longer than it takes to fill a queue of [`OUTBOX_BYTES`].
const SLOW_FOR: u32 = 3;
/// What the gateway lets wait for one session: its default.
const OUTBOX_BYTES: u64 = 1 << 20;
const SERVERS: [Tier; 2] = [Tier::Gateway, Tier::RoomService];

/// One row of the plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    /// Its name on the command line.
    pub(crate) key: &'static str,
    pub(crate) words: &'static str,
    clients: usize,
    rooms: usize,
    work: Work,
    /// Measured in turn. The first is what the others are compared with.
    pub(crate) subjects: &'static [Subject],
}

#[derive(Clone, Copy, Debug)]
enum Work {
    Talk(Pace),
    /// The same, first while all read, then while so many read 1 KB a second.
    SlowReaders(Pace, usize),
    /// Being there.
    Idle,
    /// Coming in all at once, where so many are already.
    Join {
        there: usize,
    },
    /// Appending to the store, without clients.
    Append,
}

/// All that `make bench` does.
pub(crate) const SCENARIOS: [Scenario; 10] = [
    Scenario {
        key: "one-room",
        words: "one room, 1,000 readers, 20 messages a second",
        clients: 1000,
        rooms: 1,
        work: Work::Talk(Pace::PerSecond(20)),
        subjects: &[FLOOR, PARLOR, Subject::Sample],
    },
    Scenario {
        key: "saturated",
        words: "one room, 1,000 readers, as much as it takes with 32 messages in flight",
        clients: 1000,
        rooms: 1,
        work: Work::Talk(Pace::InFlight(32)),
        subjects: &[
            FLOOR,
            Subject::Floor { frames_a_write: 4 },
            Subject::Floor { frames_a_write: 16 },
            PARLOR,
            Subject::Sample,
        ],
    },
    Scenario {
        key: "slow-readers",
        words: "one room, 1,000 readers of whom 10 read 1 KB/s, 40 messages of 2 KB a second; beside it all read",
        clients: 1000,
        rooms: 1,
        work: Work::SlowReaders(Pace::PerSecond(40), 10),
        subjects: &[PARLOR],
    },
    Scenario {
        key: "many-rooms",
        words: "100 rooms of 10, as much as they take with 32 messages in flight",
        clients: 1000,
        rooms: 100,
        work: Work::Talk(Pace::InFlight(32)),
        subjects: &[FLOOR, PARLOR, Subject::Sample],
    },
    Scenario {
        key: "idle",
        words: "10,000 sessions in 1,000 rooms that say nothing",
        clients: 10_000,
        rooms: 1000,
        work: Work::Idle,
        subjects: &[PARLOR, Subject::Sample],
    },
    Scenario {
        key: "joins",
        words: "2,000 joins at once into one room",
        clients: 2000,
        rooms: 1,
        work: Work::Join { there: 0 },
        // The sample tells everyone of each one, which is four million frames: minutes.
        subjects: &[PARLOR],
    },
    Scenario {
        key: "joins-200",
        words: "2,000 joins at once into a room of 200",
        clients: 2200,
        rooms: 1,
        work: Work::Join { there: 200 },
        subjects: &[PARLOR],
    },
    Scenario {
        key: "joins-10000",
        words: "2,000 joins at once into a room of 10,000",
        clients: 12_000,
        rooms: 1,
        work: Work::Join { there: 10_000 },
        subjects: &[PARLOR],
    },
    Scenario {
        key: "append",
        words: "64 appends at a time to one Redis on a core of its own",
        clients: 0,
        rooms: 0,
        work: Work::Append,
        subjects: &[Subject::Store],
    },
    Scenario {
        key: "more-gateways",
        words: "one room, 1,200 readers at one, two and three gateways, 20 messages a second",
        clients: 1200,
        rooms: 1,
        work: Work::Talk(Pace::PerSecond(20)),
        subjects: &[
            PARLOR,
            Subject::Parlor { gateways: 2, room_services: 2 },
            Subject::Parlor { gateways: 3, room_services: 2 },
        ],
    },
];

/// A value with the unit in its name.
pub(crate) type Figure = (&'static str, f64);

/// What one run came to. The first figure is the one that is compared.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) figures: Vec<Figure>,
    pub(crate) faults: Faults,
}

impl Scenario {
    /// Measures one subject, for `time` where that matters.
    pub(crate) async fn run(&self, running: &Running, time: Duration) -> io::Result<Outcome> {
        match self.work {
            Work::Talk(pace) => self.talk(running, pace, time),
            Work::SlowReaders(pace, n_slow) => self.slow_readers(running, pace, n_slow, time).await,
            Work::Idle => self.idle(running),
            Work::Join { there } => self.join(running, there),
            Work::Append => append(running, time).await,
        }
    }

    fn connect(&self, running: &Running) -> io::Result<Load> {
        Load::connect(running.dialect, &running.addresses, self.clients, self.rooms)
    }

    fn talk(&self, running: &Running, pace: Pace, time: Duration) -> io::Result<Outcome> {
        let mut load = self.connect(running)?;
        load.join(JOINS_AT_ONCE)?;
        load.talk(pace, WARM_UP)?;
        let meter = Meter::start(running)?;
        let mut heard = load.talk(pace, time)?;
        let Cost { servers, redis, others } = meter.stop()?;
        let deliveries = as_float(heard.deliveries);
        let [p50, p99, p999] = latencies(&mut heard);
        let figures = vec![
            ("µs/delivery", micros(servers) / deliveries),
            ("Redis µs/delivery", micros(redis) / deliveries),
            ("deliveries/s", deliveries / heard.took.as_secs_f64()),
            ("bytes/delivery", as_float(heard.bytes) / deliveries),
            ("p50 ms", p50),
            ("p99 ms", p99),
            ("p999 ms", p999),
            ("others' CPU %", others),
        ];
        Ok(Outcome { figures, faults: load.faults() })
    }

    /// What the others, and the gateway's memory, have of slow readers; who at the end have to have heard everything.
    async fn slow_readers(
        &self,
        running: &Running,
        pace: Pace,
        n_slow: usize,
        time: Duration,
    ) -> io::Result<Outcome> {
        let mut load = self.connect(running)?;
        load.join(JOINS_AT_ONCE)?;
        load.speak_at_length(LONG_TEXT_BYTES);
        load.talk(pace, WARM_UP)?;
        let [calm_p50, calm_p99, _] = latencies(&mut load.talk(pace, SLOW_FOR * time)?);
        let before = running.rss(&[Tier::Gateway])?;
        load.slow_down(n_slow)?;
        let meter = Meter::start(running)?;
        let [p50, p99, _] = latencies(&mut load.talk_on(pace, SLOW_FOR * time)?);
        let Cost { others, .. } = meter.stop()?;
        let grown = running.rss(&[Tier::Gateway])?.saturating_sub(before);
        load.hurry()?;
        let megabytes = |bytes: u64| as_float(bytes) / f64::from(1 << 20);
        let figures = vec![
            ("p99 × all read", p99 / calm_p99),
            ("p50 ms", p50),
            ("all read", calm_p50),
            ("p99 ms", p99),
            ("all read", calm_p99),
            ("gateway MB grown", megabytes(grown)),
            ("of at most", megabytes(OUTBOX_BYTES * n_slow as u64)),
            ("queues dropped", as_float(running.outbox_drops().await?)),
            ("others' CPU %", others),
        ];
        Ok(Outcome { figures, faults: load.faults() })
    }

    fn idle(&self, running: &Running) -> io::Result<Outcome> {
        let before = [running.rss(&[Tier::Gateway])?, running.rss(&[Tier::RoomService])?];
        let mut load = self.connect(running)?;
        load.join(JOINS_AT_ONCE)?;
        let after = [running.rss(&[Tier::Gateway])?, running.rss(&[Tier::RoomService])?];
        let kilobytes = |tier: usize| {
            as_float(after[tier].saturating_sub(before[tier])) / as_float(self.clients as u64) / 1024.0
        };
        let figures = vec![
            ("KB/session", kilobytes(0) + kilobytes(1)),
            ("of it the gateway's", kilobytes(0)),
            ("of it the room service's", kilobytes(1)),
        ];
        Ok(Outcome { figures, faults: load.faults() })
    }

    fn join(&self, running: &Running, there: usize) -> io::Result<Outcome> {
        let mut load = self.connect(running)?;
        load.join_up_to(there, JOINS_AT_ONCE)?;
        let meter = Meter::start(running)?;
        let entered = load.join(self.clients)?;
        let Cost { servers, redis, others } = meter.stop()?;
        let joins = as_float((self.clients - there) as u64);
        let figures = vec![
            ("µs/join", micros(servers) / joins),
            ("Redis µs/join", micros(redis) / joins),
            ("presence KB/client", as_float(entered.presence_bytes) / as_float(self.clients as u64) / 1024.0),
            ("joins/s", joins / entered.took.as_secs_f64()),
            ("others' CPU %", others),
        ];
        Ok(Outcome { figures, faults: load.faults() })
    }
}

async fn append(running: &Running, time: Duration) -> io::Result<Outcome> {
    pause(WARM_UP).await?;
    let (meter, before, start) = (Meter::start(running)?, running.scripts().await?, Instant::now());
    pause(time).await?;
    let (after, took) = (running.scripts().await?, start.elapsed());
    let Cost { servers, redis, others } = meter.stop()?;
    let appends = as_float(after - before);
    let figures = vec![
        ("µs/append", micros(servers) / appends),
        ("Redis µs/append", micros(redis) / appends),
        ("appends/s", appends / took.as_secs_f64()),
        ("others' CPU %", others),
    ];
    Ok(Outcome { figures, faults: Faults::default() })
}

/// Counts CPU time while something is done.
struct Meter<'a> {
    running: &'a Running,
    servers: Duration,
    redis: Duration,
    load: Duration,
    all: Duration,
    start: Instant,
}

/// What it cost.
struct Cost {
    servers: Duration,
    redis: Duration,
    /// What ran on this machine that was none of it, in percent of one core: the noise.
    others: f64,
}

impl<'a> Meter<'a> {
    fn start(running: &'a Running) -> io::Result<Self> {
        Ok(Self {
            running,
            servers: running.cpu(&SERVERS)?,
            redis: running.cpu(&[Tier::Redis])?,
            load: process::cpu(std::process::id())?,
            all: process::cpu_of_all()?,
            start: Instant::now(),
        })
    }

    fn stop(self) -> io::Result<Cost> {
        let Self { servers, redis, load, all, .. } = Self::start(self.running)?;
        let servers = servers.saturating_sub(self.servers);
        let redis = redis.saturating_sub(self.redis);
        let ours = servers + redis + load.saturating_sub(self.load);
        let others = all.saturating_sub(self.all).saturating_sub(ours);
        Ok(Cost { servers, redis, others: others.as_secs_f64() / self.start.elapsed().as_secs_f64() * 100.0 })
    }
}

/// The 50th, 99th and 99.9th percentile of the latencies, in milliseconds.
fn latencies(heard: &mut Heard) -> [f64; 3] {
    heard.latencies.sort_unstable();
    [500, 990, 999].map(|permille| f64::from(percentile(&heard.latencies, permille)) / 1000.0)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^53")]
fn as_float(count: u64) -> f64 {
    count as f64
}
