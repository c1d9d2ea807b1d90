//! `chaos crowd`: members who talk through somebody else's Parlor while somebody else breaks it, for `deploy/tests`.
//!
//! Lines on standard input say what happens (`struck`, `end`), lines on standard output what became of it: `in` when
//! everyone is in their room, and in the end one JSON object. The witness is the room's history, read as a stranger reads it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    time::Duration,
};

use clap::Args;
use proto::chat::v1::{HistoryPage, MembersPage, Welcome};
use serde::de::DeserializeOwned;
use serde_json::json;
use testkit::http_ask;
use tokio::{task::spawn_blocking, time::Instant};

use crate::{
    checker::{Evidence, Verdict, judge},
    fleet::until,
    member::{Member, Plan, Wish},
    notes::{Heard, Notes, Told},
};

/// How many messages or members one page has.
const PAGE: usize = 200;
/// How long everything acknowledged may take to be heard by all.
const SETTLE: Duration = Duration::from_secs(20);
/// How many come at a time, and how long until the next: 200 a second, which a busy machine can greet.
const BATCH: (usize, Duration) = (10, Duration::from_millis(50));

/// Members who talk through a Parlor that somebody else breaks. They begin with a line `in`, read the lines `struck` and
/// `end`, and judge what they saw: one JSON object, and exit code 1 if a promise broke.
#[derive(Clone, Debug, Args)]
pub(crate) struct Settings {
    /// Host and port of a load balancer, or several with commas.
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1:8080")]
    at: Vec<String>,

    /// How many members.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    members: u32,

    /// How many rooms they are spread over.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    rooms: u32,

    /// The mean time between two messages of a member, in milliseconds. 0: nobody speaks.
    #[arg(long, default_value_t = 500)]
    pace_ms: u64,

    /// What the rooms are called, before their number. A run reads a room's whole history, so each has its own.
    #[arg(long, default_value = "crowd")]
    prefix: String,

    /// How long everyone may take to come, in seconds.
    #[arg(long, default_value_t = 60)]
    come_within_s: u64,
}

/// Plays it. Whether every promise was kept.
pub(crate) async fn play(settings: &Settings) -> io::Result<bool> {
    let began = Instant::now();
    let talks = settings.pace_ms > 0;
    let (batch, pause) = BATCH;
    let mut members = Vec::new();
    for n in 0..settings.members {
        let room = format!("{}-{}", settings.prefix, n % settings.rooms);
        members.push((room.clone(), Member::enter(plan(settings, room, n))));
        if members.len().is_multiple_of(batch) {
            tokio::time::sleep(pause).await;
        }
    }
    until("everyone is in their room", Duration::from_secs(settings.come_within_s), async || {
        Ok(members.iter().all(|(_, member)| member.look(|notes| !notes.heard.is_empty())))
    })
    .await?;
    if talks {
        for (_, member) in &members {
            member.wish(Wish::Talk);
        }
    }
    println!("in {:.1}", began.elapsed().as_secs_f64());

    let mut struck = Vec::new();
    loop {
        match next_line().await?.trim_end() {
            "struck" => struck.push(Instant::now()),
            // Whoever gave the words is gone without the last one.
            "end" | "" => break,
            other => return Err(io::Error::other(format!("struck or end, not {other:?}"))),
        }
    }
    for (_, member) in &members {
        member.wish(Wish::Listen);
    }
    // What does not settle is for the judge to count.
    let acknowledged = |notes: &Notes| notes.said.values().all(|said| !said.acked.is_empty());
    let _ = until("everything is acknowledged", SETTLE, async || {
        Ok(members.iter().all(|(_, member)| member.look(acknowledged)))
    })
    .await;
    let witness = Witness::come(&settings.at[0]).await?;
    let mut rooms: BTreeMap<String, Evidence> = BTreeMap::new();
    for (room, _) in &members {
        if !rooms.contains_key(room) {
            let (kept, kept_roster) = (witness.history(room).await?, witness.roster(room).await?);
            let mended = if talks { struck.clone() } else { Vec::new() };
            rooms.insert(room.clone(), Evidence { kept, kept_roster, mended, ..Evidence::default() });
        }
    }
    let _ = until("everything is heard", SETTLE, async || {
        Ok(members.iter().all(|(room, member)| {
            let newest = rooms[room].kept.last().map(|told| told.place.seq);
            newest.is_none() || member.look(Notes::newest) == newest
        }))
    })
    .await;
    for (room, member) in members {
        let notes = member.end().await;
        rooms.get_mut(&room).expect("the room of each member was read").members.push(notes);
    }
    let mut verdict = Verdict::default();
    let mut absences = Absences::default();
    for evidence in rooms.values() {
        verdict.add(judge(evidence));
        evidence.members.iter().for_each(|notes| absences.note(notes, struck.first().copied()));
    }
    let broken = [
        ("lost", verdict.lost),
        ("unheard", verdict.unheard),
        ("doubled", verdict.doubled),
        ("disordered", verdict.disordered),
        ("stored twice", verdict.stored_twice),
        ("misnumbered", verdict.misnumbered),
        ("false leaves", verdict.false_leaves),
        ("ghosts", verdict.ghosts),
        ("missing", verdict.missing),
        ("deaf", verdict.deaf),
        ("refused", verdict.refused),
        ("unacknowledged", verdict.unacknowledged),
    ];
    let broken: BTreeMap<_, _> = broken.into_iter().filter(|(_, count)| *count > 0).collect();
    verdict.heal.sort_unstable();
    println!(
        "{}",
        json!({
            "broken": broken,
            "sends": verdict.sends,
            "heard": verdict.deliveries,
            "afresh": verdict.afresh,
            "postponed": verdict.postponed,
            "heal": seconds(verdict.heal.last()),
            "away_p99": seconds(percentile(&mut absences.away, 99)),
            "away_max": seconds(absences.away.iter().max()),
            "came_back": absences.returns.values().sum::<usize>(),
            "busiest_second": absences.returns.values().max().copied().unwrap_or_default(),
            "closed": absences.closed,
        })
    );
    Ok(broken.is_empty())
}

async fn next_line() -> io::Result<String> {
    spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().read_line(&mut line)?;
        Ok(line)
    })
    .await?
}

fn plan(settings: &Settings, room: String, n: u32) -> Plan {
    // Whoever is asked to move looks for another gateway: behind a load balancer that is the same address again.
    let gateways = [settings.at.as_slice(), settings.at.as_slice()].concat();
    Plan {
        gateways,
        first: n as usize,
        room,
        // One that does not speak needs no pace; a day is longer than any run.
        pace: if settings.pace_ms > 0 {
            Duration::from_millis(settings.pace_ms)
        } else {
            Duration::from_hours(24)
        },
        acks_lost_percent: 0,
        seed: n.into(),
    }
}

/// How long members were without a connection, and when they came back.
#[derive(Default)]
struct Absences {
    away: Vec<Duration>,
    /// By second since it was struck: connections that were opened again, after a loss or for a move.
    returns: BTreeMap<u64, usize>,
    /// How connections ended that were not meant to, and how many did.
    closed: BTreeMap<String, usize>,
}

impl Absences {
    fn note(&mut self, notes: &Notes, struck: Option<Instant>) {
        let mut lost_at = None;
        let mut connections = BTreeSet::new();
        for (at, heard) in &notes.heard {
            match heard {
                Heard::Lost { how } => {
                    *self.closed.entry(how.clone()).or_default() += 1;
                    lost_at.get_or_insert(*at);
                }
                Heard::Joined { connection, .. } => {
                    let again = !connections.is_empty() && connections.insert(*connection);
                    connections.insert(*connection);
                    if let (true, Some(struck)) = (again, struck) {
                        *self.returns.entry(at.duration_since(struck).as_secs()).or_default() += 1;
                    }
                    self.away.extend(lost_at.take().map(|lost_at| *at - lost_at));
                }
                Heard::Message { .. } | Heard::Presence { .. } => {}
            }
        }
    }
}

/// A guest who reads rooms without being in them.
struct Witness {
    address: String,
    token: String,
}

impl Witness {
    async fn come(address: &str) -> io::Result<Self> {
        let mut witness = Self { address: address.to_owned(), token: String::new() };
        let welcome: Welcome = witness.ask("POST", "/v1/tokens").await?;
        witness.token = welcome.token;
        Ok(witness)
    }

    /// All that a room keeps, oldest first.
    async fn history(&self, room: &str) -> io::Result<Vec<Told>> {
        let mut pages = Vec::new();
        let mut before = 0;
        loop {
            let path = format!("/v1/rooms/{room}/messages?limit={PAGE}&before={before}");
            let page: HistoryPage = self.ask("GET", &path).await?;
            let full = page.messages.len() == PAGE;
            before = page.messages.first().map_or(before, |message| message.seq);
            pages.push(page.messages);
            if !full {
                return Ok(pages.iter().rev().flatten().map(Told::from).collect());
            }
        }
    }

    async fn roster(&self, room: &str) -> io::Result<BTreeSet<String>> {
        let mut ids = BTreeSet::new();
        let mut after = String::new();
        loop {
            let path = format!("/v1/rooms/{room}/members?limit={PAGE}&after={after}");
            let page: MembersPage = self.ask("GET", &path).await?;
            let full = page.members.len() == PAGE;
            ids.extend(page.members.into_iter().map(|member| member.id));
            after = ids.last().cloned().unwrap_or_default();
            if !full {
                return Ok(ids);
            }
        }
    }

    /// Asks until there is an answer: what was broken may still be healing.
    async fn ask<Answer: DeserializeOwned>(&self, method: &str, path: &str) -> io::Result<Answer> {
        let mut answer = None;
        until("the history can be read", SETTLE, async || {
            if let Some((200, body)) = http_ask(&self.address, method, path, &self.token, "").await {
                answer = Some(serde_json::from_str(&body)?);
            }
            Ok(answer.is_some())
        })
        .await?;
        answer.ok_or_else(|| io::Error::other("no answer"))
    }
}

fn percentile(durations: &mut [Duration], percent: usize) -> Option<&Duration> {
    durations.sort_unstable();
    durations.get((durations.len() * percent / 100).min(durations.len().saturating_sub(1)))
}

fn seconds(duration: Option<&Duration>) -> Option<f64> {
    duration.map(|duration| (duration.as_secs_f64() * 1000.0).round() / 1000.0)
}
