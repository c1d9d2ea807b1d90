//! One round: members talk, something breaks at a random moment, members go, and everything is judged.

use std::{collections::BTreeSet, io, ops::Range, path::Path, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::time::{Instant, sleep};

use crate::{
    checker::{Evidence, Verdict, judge},
    fault::Fault,
    fleet::{Fleet, until},
    member::{Member, Plan, Wish},
    notes::{Notes, Told},
};

/// Members of each room who stay, and who go, two during the fault and two at the end: half of them without a word.
const STEADY: usize = 6;
const LEAVING: usize = 4;
/// The mean time between two sends of a member.
const PACE: Duration = Duration::from_millis(250);
/// How long everyone talks before the fault (at random), and after it.
const BEFORE: Range<f64> = 1.0..3.0;
/// When some go, in seconds from the fault on: one with a goodbye and one without.
const MEANWHILE: Range<f64> = 0.0..2.0;
const AFTER: Duration = Duration::from_secs(5);
/// How long everyone may take to come, and everything acknowledged and heard.
const SETTLE: Duration = Duration::from_secs(20);
/// The grace of those who go without a word at the end, with some time to tell it.
const LEAVING_TAKES: Duration = Duration::from_secs(8);
/// The time to heal that the slowest of a hundred may take.
pub(crate) const HEAL: Duration = Duration::from_secs(10);

/// Plays one round in `folder`.
pub(crate) async fn play(fault: Fault, seed: u64, folder: &Path) -> io::Result<Verdict> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut fleet = Fleet::start(folder, fault.storage()).await?;
    let rooms = fleet.redis.rooms().await?;
    let rooms: Vec<(String, Vec<Member>)> = rooms
        .into_iter()
        .map(|room| {
            let members = (0..STEADY + LEAVING).map(|n| enter(fault, &fleet, &room, n, &mut rng)).collect();
            (room, members)
        })
        .collect();
    let everyone = || rooms.iter().flat_map(|(_, members)| members);
    until("everyone is in their room and knows the others", SETTLE, async || {
        Ok(everyone().all(|member| member.look(|notes| notes.roster.len() == STEADY + LEAVING)))
    })
    .await?;

    everyone().for_each(|member| member.wish(Wish::Talk));
    sleep(Duration::from_secs_f64(rng.random_range(BEFORE))).await;
    if fault.kills_gateways() {
        // Whoever is at the gateway then dies with it, and only its lease tells.
        rooms.iter().flat_map(|(_, members)| &members[STEADY..]).for_each(|member| member.wish(Wish::Perish));
    }
    let struck = Instant::now();
    let meanwhile = Duration::from_secs_f64(rng.random_range(MEANWHILE));
    let some_go = async {
        sleep(meanwhile).await;
        for (_, members) in &rooms {
            members[STEADY].wish(Wish::Leave);
            members[STEADY + 1].wish(Wish::Vanish);
        }
    };
    let (mended, ()) = tokio::join!(fault.strike(&mut fleet, &mut rng), some_go);
    let mended = mended?;
    sleep(AFTER).await;
    everyone().for_each(|member| member.wish(Wish::Listen));
    // What does not settle is for the judge to count.
    let _ = until("everything is acknowledged and heard", SETTLE, async || {
        for (room, members) in &rooms {
            let newest = kept(&fleet, room).await?.last().map(|told| told.place.seq);
            let settled = |notes: &Notes| {
                notes.said.values().all(|said| !said.acked.is_empty()) && notes.newest() == newest
                    || !notes.steady
            };
            if !members.iter().all(|member| member.look(settled)) {
                return Ok(false);
            }
        }
        Ok(true)
    })
    .await;

    for (_, members) in &rooms {
        for (n, member) in members[STEADY + 2..].iter().enumerate() {
            member.wish(if n % 2 == 0 { Wish::Leave } else { Wish::Vanish });
        }
    }
    // Whoever died with a gateway is gone for longer than the others.
    let gone = if fault == Fault::GatewayKilled { struck } else { Instant::now() };
    let within = fault.haunts_for().saturating_sub(gone.elapsed()).max(LEAVING_TAKES);
    let _ = until("nobody is haunted", within, async || {
        for (room, members) in &rooms {
            let there = kept_roster(&fleet, room).await?;
            let clear = |notes: &Notes| notes.roster == there;
            if there.len() != STEADY || !members[..STEADY].iter().all(|member| member.look(clear)) {
                return Ok(false);
            }
        }
        Ok(true)
    })
    .await;

    let failed_over = mended.first().copied().filter(|_| fault.may_lose());
    let mut verdict = Verdict { cleared: gone.elapsed(), ..Verdict::default() };
    for (room, members) in rooms {
        let (kept, kept_roster) = (kept(&fleet, &room).await?, kept_roster(&fleet, &room).await?);
        let mut notes = Vec::new();
        for member in members {
            notes.push(member.end().await);
        }
        verdict.add(judge(&Evidence {
            members: notes,
            kept,
            kept_roster,
            mended: mended.clone(),
            failed_over,
        }));
    }
    Ok(verdict)
}

fn enter(fault: Fault, fleet: &Fleet, room: &str, n: usize, rng: &mut StdRng) -> Member {
    Member::enter(Plan {
        gateways: fleet.addresses(),
        first: n,
        room: room.to_owned(),
        pace: PACE,
        acks_lost_percent: if fault == Fault::AcksLost { 30 } else { 0 },
        seed: rng.random(),
    })
}

/// What the store has of a room, oldest first.
async fn kept(fleet: &Fleet, room: &str) -> io::Result<Vec<Told>> {
    let answer = fleet.redis.ask(&["ZRANGE", &format!("chat:{{{room}}}:messages"), "0", "-1"]).await?;
    let read = |record: &serde_json::Value| {
        let record = record.as_str().ok_or_else(|| io::Error::other("a record is not a text"))?;
        let message: proto::chat::v1::Message = serde_json::from_str(record)?;
        Ok(Told::from(&message))
    };
    answer.as_array().ok_or_else(|| io::Error::other("no list of messages"))?.iter().map(read).collect()
}

async fn kept_roster(fleet: &Fleet, room: &str) -> io::Result<BTreeSet<String>> {
    let answer = fleet.redis.ask(&["HKEYS", &format!("chat:{{{room}}}:members")]).await?;
    let members = answer.as_array().ok_or_else(|| io::Error::other("no list of members"))?;
    Ok(members.iter().filter_map(|member| member.as_str().map(str::to_owned)).collect())
}
