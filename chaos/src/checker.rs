//! Judges one round by what its members noted and what the store kept. Pure: no clock, no socket.
//!
//! The store's history is the witness for order: every message has one number there, so comparing each member with it
//! takes one pass.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;

use crate::notes::{Heard, Notes, Place, Told};

/// One room at the end of a round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) members: Vec<Notes>,
    /// The store's history, oldest first.
    pub(crate) kept: Vec<Told>,
    /// The store's roster.
    pub(crate) kept_roster: BTreeSet<String>,
    /// When something that was broken worked again.
    pub(crate) mended: Vec<Instant>,
    /// When a primary was lost whose replica may lack what was acknowledged just before.
    pub(crate) failed_over: Option<Instant>,
}

/// How far a replica may be behind its primary.
const REPLICA_LAG: Duration = Duration::from_secs(1);

/// What was found. All counts from `deaf` on are to be zero.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) sends: usize,
    pub(crate) acked: usize,
    pub(crate) deliveries: usize,
    /// Sends that were told to try again, and connections that were opened again.
    pub(crate) postponed: u32,
    pub(crate) reconnects: usize,
    /// From the last departure until nobody who was gone was in a roster any more.
    pub(crate) cleared: Duration,
    /// From each mending until each steady member heard something that was said after it.
    pub(crate) heal: Vec<Duration>,
    /// Members who heard nothing more after a mending.
    pub(crate) deaf: usize,
    /// Sends of steady members that were never acknowledged.
    pub(crate) unacknowledged: usize,
    /// Acknowledged and not kept.
    pub(crate) lost: usize,
    /// Of these, acknowledged within [`REPLICA_LAG`] before a failover.
    pub(crate) lost_to_lag: usize,
    /// How many runs of numbers were heard of.
    pub(crate) epochs: usize,
    /// Kept, and not heard by a steady member.
    pub(crate) unheard: usize,
    /// Heard twice over one connection.
    pub(crate) doubled: usize,
    /// Heard before its predecessor, or after its successor.
    pub(crate) disordered: usize,
    /// One send that the store keeps twice, or acknowledged as two messages.
    pub(crate) stored_twice: usize,
    /// Two messages under one number of one epoch, or a number that the store skipped.
    pub(crate) misnumbered: usize,
    /// Rooms that were started afresh: nothing was hidden, but the thread was lost.
    pub(crate) afresh: usize,
    /// A steady member who was said to have left, or was missing from a `joined`.
    pub(crate) false_leaves: usize,
    /// In a roster at the end though gone, by member or by the store.
    pub(crate) ghosts: usize,
    /// Not in a roster at the end though there.
    pub(crate) missing: usize,
    /// Connections that ended though their member did not want it, and how.
    pub(crate) closed: Vec<String>,
    /// Answers that helped nobody.
    pub(crate) refused: usize,
}

impl Verdict {
    /// Adds another room's.
    pub(crate) fn add(&mut self, other: Self) {
        self.sends += other.sends;
        self.acked += other.acked;
        self.deliveries += other.deliveries;
        self.postponed += other.postponed;
        self.reconnects += other.reconnects;
        self.cleared = self.cleared.max(other.cleared);
        self.heal.extend(other.heal);
        self.deaf += other.deaf;
        self.unacknowledged += other.unacknowledged;
        self.lost += other.lost;
        self.lost_to_lag += other.lost_to_lag;
        self.epochs = self.epochs.max(other.epochs);
        self.unheard += other.unheard;
        self.doubled += other.doubled;
        self.disordered += other.disordered;
        self.stored_twice += other.stored_twice;
        self.misnumbered += other.misnumbered;
        self.afresh += other.afresh;
        self.false_leaves += other.false_leaves;
        self.ghosts += other.ghosts;
        self.missing += other.missing;
        self.closed.extend(other.closed);
        self.refused += other.refused;
    }
}

/// Judges one room.
pub(crate) fn judge(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict::default();
    judge_store(evidence, &mut verdict);
    let steady: BTreeSet<&str> =
        evidence.members.iter().filter(|notes| notes.steady).map(|notes| notes.id.as_str()).collect();
    let said_at: HashMap<(&str, &str), Instant> = evidence
        .members
        .iter()
        .flat_map(|notes| {
            notes.said.iter().map(|(id, said)| ((notes.id.as_str(), id.as_str()), said.first_at))
        })
        .collect();
    // Who is known to have come is not to be missed by anybody.
    let mut present = BTreeSet::new();
    for notes in &evidence.members {
        verdict.postponed += notes.postponed;
        verdict.refused += notes.refused.len();
        verdict.false_leaves += false_leaves(notes, &steady);
        judge_order(notes, &mut verdict);
        if notes.steady {
            present.insert(notes.id.clone());
            judge_hearing(notes, &evidence.kept, &mut verdict);
            for mended in &evidence.mended {
                match healed(notes, *mended, &said_at) {
                    Some(after) => verdict.heal.push(after),
                    None => verdict.deaf += 1,
                }
            }
        }
    }
    let rosters = evidence.members.iter().filter(|notes| notes.steady).map(|notes| &notes.roster);
    for roster in rosters.chain([&evidence.kept_roster]) {
        verdict.ghosts += roster.difference(&present).count();
        verdict.missing += present.difference(roster).count();
    }
    verdict
}

/// Compares what was acknowledged with what is kept, and the numbers with each other.
fn judge_store(evidence: &Evidence, verdict: &mut Verdict) {
    let mut sends: BTreeMap<(&str, &str), Vec<&Told>> = BTreeMap::new();
    for told in &evidence.kept {
        sends.entry((&told.member, &told.client_id)).or_default().push(told);
    }
    verdict.stored_twice += sends.values().map(|copies| copies.len() - 1).sum::<usize>();
    let numbers = evidence.kept.iter().map(|told| told.place.seq);
    verdict.misnumbered +=
        numbers.clone().zip(numbers.skip(1)).filter(|(one, next)| *next != one + 1).count();
    for notes in &evidence.members {
        verdict.sends += notes.said.len();
        for (client_id, said) in &notes.said {
            let Some((first_at, first)) = said.acked.first() else {
                verdict.unacknowledged += usize::from(notes.steady);
                continue;
            };
            verdict.acked += 1;
            verdict.stored_twice += said.acked.iter().filter(|(_, ack)| ack.id != first.id).count();
            let kept = sends.get(&(notes.id.as_str(), client_id.as_str()));
            if !kept.is_some_and(|kept| {
                kept.iter().any(|told| (told.place.seq, &told.place.id) == (first.seq, &first.id))
            }) {
                verdict.lost += 1;
                let lagged =
                    evidence.failed_over.is_some_and(|at| *first_at + REPLICA_LAG >= at && *first_at <= at);
                verdict.lost_to_lag += usize::from(lagged);
            }
        }
    }
    let heard = evidence.members.iter().flat_map(all_told).map(|told| &told.place);
    let acks = evidence
        .members
        .iter()
        .flat_map(|notes| notes.said.values())
        .flat_map(|said| &said.acked)
        .map(|(_, place)| place);
    let mut names: HashMap<(&str, u32), &str> = HashMap::new();
    for Place { epoch, seq, id } in heard.chain(acks) {
        let first = names.entry((epoch, *seq)).or_insert(id);
        verdict.misnumbered += usize::from(*first != id);
    }
    verdict.epochs = names.keys().map(|(epoch, _)| epoch).collect::<HashSet<_>>().len();
}

fn all_told(notes: &Notes) -> impl Iterator<Item = &Told> {
    notes.heard.iter().flat_map(|(_, heard)| match heard {
        Heard::Joined { told, .. } => told.as_slice(),
        Heard::Message { told, .. } => std::slice::from_ref(told),
        Heard::Presence { .. } | Heard::Lost { .. } => &[],
    })
}

/// Over each connection the numbers follow each other; what a join brings follows what was heard before.
fn judge_order(notes: &Notes, verdict: &mut Verdict) {
    let mut last: HashMap<u32, u32> = HashMap::new();
    let mut newest = None;
    let mut seen: HashSet<(u32, &str)> = HashSet::new();
    for (_, heard) in &notes.heard {
        match heard {
            Heard::Joined { connection, afresh, resumed, head, told, .. } => {
                // What a person missed begins after what they have.
                let mut before = if *resumed { newest } else { None };
                for told in told {
                    let seq = told.place.seq;
                    verdict.disordered += usize::from(before.is_some_and(|before: u32| seq != before + 1));
                    before = Some(seq);
                    seen.insert((*connection, &told.place.id));
                }
                let known_before = newest.is_some();
                verdict.afresh += usize::from(*afresh || (known_before && !resumed));
                let end = told.last().map_or(*head, |told| told.place.seq);
                newest = Some(if *resumed { newest.map_or(end, |newest: u32| newest.max(end)) } else { end });
                last.insert(*connection, end);
                verdict.reconnects += usize::from(known_before && !afresh);
            }
            Heard::Message { connection, told } => {
                verdict.deliveries += 1;
                let seq = told.place.seq;
                let follows = last.get(connection).is_some_and(|last| seq == last + 1);
                if !seen.insert((*connection, &told.place.id)) {
                    verdict.doubled += 1;
                } else if !follows {
                    verdict.disordered += 1;
                }
                last.insert(*connection, seq);
                newest = Some(seq);
            }
            Heard::Presence { .. } => {}
            Heard::Lost { how } => verdict.closed.push(how.clone()),
        }
    }
}

/// A steady member heard everything that was said after they came.
fn judge_hearing(notes: &Notes, kept: &[Told], verdict: &mut Verdict) {
    let Some(came_at) = notes.heard.iter().find_map(|(_, heard)| match heard {
        Heard::Joined { head, .. } => Some(*head),
        _ => None,
    }) else {
        verdict.unheard += kept.len();
        return;
    };
    let heard: HashSet<&str> = all_told(notes).map(|told| told.place.id.as_str()).collect();
    let due = kept.iter().filter(|told| told.place.seq > came_at);
    verdict.unheard += due.filter(|told| !heard.contains(told.place.id.as_str())).count();
}

/// How often this member was told that a steady member is not there, after they had been.
fn false_leaves(notes: &Notes, steady: &BTreeSet<&str>) -> usize {
    let mut known: HashSet<&str> = HashSet::new();
    let mut count = 0;
    for (_, heard) in &notes.heard {
        match heard {
            Heard::Joined { roster, .. } => {
                let roster: HashSet<&str> = roster.iter().map(String::as_str).collect();
                count += known.difference(&roster).filter(|id| steady.contains(*id)).count();
                known = roster;
            }
            Heard::Presence { left } => {
                count += left.iter().filter(|id| steady.contains(id.as_str())).count();
            }
            Heard::Message { .. } | Heard::Lost { .. } => {}
        }
    }
    count
}

/// How long after `mended` this member heard something that was first said after it.
fn healed(notes: &Notes, mended: Instant, said_at: &HashMap<(&str, &str), Instant>) -> Option<Duration> {
    let fresh = |told: &Told| {
        said_at.get(&(told.member.as_str(), told.client_id.as_str())).is_some_and(|said| *said >= mended)
    };
    let first = notes.heard.iter().filter(|(at, _)| *at >= mended).find(|(_, heard)| match heard {
        Heard::Joined { told, .. } => told.iter().any(fresh),
        Heard::Message { told, .. } => fresh(told),
        Heard::Presence { .. } | Heard::Lost { .. } => false,
    });
    first.map(|(at, _)| *at - mended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notes::Said;

    /// A good round: ada says three things, bob hears them, and comes back once in between.
    fn good() -> Evidence {
        let start = Instant::now();
        let moment = |n: u32| start + Duration::from_millis(u64::from(n));
        let told = |seq: u32| Told {
            place: Place { epoch: "E".into(), seq, id: format!("id{seq}") },
            member: "ada".into(),
            client_id: format!("c{seq}"),
        };
        let joined = |connection, resumed, head, messages: Vec<Told>| Heard::Joined {
            connection,
            afresh: false,
            resumed,
            head,
            told: messages,
            roster: vec!["ada".into(), "bob".into()],
        };
        let message = |connection, seq| Heard::Message { connection, told: told(seq) };
        let roster: BTreeSet<String> = ["ada".to_owned(), "bob".to_owned()].into();
        let said = |seq: u32| {
            (
                format!("c{seq}"),
                Said { first_at: moment(seq), acked: vec![(moment(seq + 1), told(seq).place)] },
            )
        };
        let ada = Notes {
            id: "ada".into(),
            steady: true,
            said: [said(1), said(2), said(3)].into(),
            heard: vec![
                (moment(0), joined(0, false, 0, vec![])),
                (moment(1), message(0, 1)),
                (moment(2), message(0, 2)),
                (moment(3), message(0, 3)),
            ],
            roster: roster.clone(),
            ..Notes::default()
        };
        let bob = Notes {
            id: "bob".into(),
            steady: true,
            heard: vec![
                (moment(0), joined(0, false, 0, vec![])),
                (moment(1), message(0, 1)),
                (moment(2), joined(1, true, 2, vec![told(2)])),
                (moment(5), message(1, 3)),
            ],
            roster: roster.clone(),
            ..Notes::default()
        };
        Evidence {
            members: vec![ada, bob],
            kept: (1..=3).map(told).collect(),
            kept_roster: roster,
            mended: vec![moment(2) + Duration::from_micros(500)],
            failed_over: None,
        }
    }

    /// The counts that are to be zero.
    fn faults(verdict: &Verdict) -> [usize; 14] {
        [
            verdict.deaf,
            verdict.unacknowledged,
            verdict.lost,
            verdict.unheard,
            verdict.doubled,
            verdict.disordered,
            verdict.stored_twice,
            verdict.misnumbered,
            verdict.afresh,
            verdict.false_leaves,
            verdict.ghosts,
            verdict.missing,
            verdict.closed.len(),
            verdict.refused,
        ]
    }

    fn bob(evidence: &mut Evidence) -> &mut Notes {
        &mut evidence.members[1]
    }

    #[test]
    fn a_good_round_has_no_faults() {
        let verdict = judge(&good());
        assert_eq!(faults(&verdict), [0; 14], "{verdict:?}");
        assert_eq!((verdict.sends, verdict.acked, verdict.deliveries, verdict.reconnects), (3, 3, 5, 1));
        assert_eq!(verdict.epochs, 1);
        let heal: Vec<u128> = verdict.heal.iter().map(Duration::as_micros).collect();
        assert_eq!(heal, [500, 2500]);
    }

    #[test]
    fn what_was_acknowledged_and_is_not_kept_is_lost() {
        let mut evidence = good();
        evidence.kept.pop();
        let verdict = judge(&evidence);
        assert_eq!((verdict.lost, verdict.lost_to_lag), (1, 0));
        let acked_at = evidence.members[0].said["c3"].acked[0].0;
        for (failed_over, lagged) in [(Duration::ZERO, 1), (REPLICA_LAG, 1), (REPLICA_LAG * 2, 0)] {
            evidence.failed_over = Some(acked_at + failed_over);
            assert_eq!(judge(&evidence).lost_to_lag, lagged, "{failed_over:?} later");
        }
    }

    #[test]
    fn a_send_that_is_never_acknowledged_is_counted_unless_its_sender_left() {
        let mut evidence = good();
        evidence.members[0].said.get_mut("c3").unwrap().acked.clear();
        assert_eq!(judge(&evidence).unacknowledged, 1);
        evidence.members[0].steady = false;
        assert_eq!(judge(&evidence).unacknowledged, 0);
    }

    #[test]
    fn what_a_steady_member_did_not_hear_is_counted() {
        let mut evidence = good();
        bob(&mut evidence).heard.pop();
        let verdict = judge(&evidence);
        assert_eq!((verdict.unheard, verdict.deaf), (1, 1));
        let mut evidence = good();
        bob(&mut evidence).heard.clear();
        assert_eq!(judge(&evidence).unheard, 3);
    }

    #[test]
    fn what_comes_twice_over_one_connection_is_doubled() {
        let mut evidence = good();
        let again = bob(&mut evidence).heard[3].clone();
        bob(&mut evidence).heard.push(again);
        assert_eq!(judge(&evidence).doubled, 1);
    }

    #[test]
    fn a_hole_and_a_swap_are_disorder() {
        let mut evidence = good();
        evidence.members[0].heard.swap(2, 3);
        assert!(judge(&evidence).disordered > 0);
        let mut evidence = good();
        evidence.members[0].heard.remove(2);
        assert!(judge(&evidence).disordered > 0);
        let mut evidence = good();
        let Heard::Joined { told, .. } = &mut bob(&mut evidence).heard[2].1 else { unreachable!() };
        told.clear();
        let verdict = judge(&evidence);
        assert_eq!((verdict.disordered, verdict.unheard), (0, 1), "a resumed join that forgot one");
    }

    #[test]
    fn a_send_that_is_kept_or_acknowledged_as_two_is_stored_twice() {
        let mut evidence = good();
        let mut copy = evidence.kept[2].clone();
        copy.place = Place { seq: 4, id: "id4".into(), ..copy.place };
        evidence.kept.push(copy.clone());
        assert_eq!(judge(&evidence).stored_twice, 1);
        let mut evidence = good();
        evidence.members[0].said.get_mut("c3").unwrap().acked.push((Instant::now(), copy.place));
        assert_eq!(judge(&evidence).stored_twice, 1);
    }

    #[test]
    fn a_number_that_is_skipped_or_given_twice_is_noticed() {
        let mut evidence = good();
        evidence.kept.remove(1);
        assert_eq!(judge(&evidence).misnumbered, 1);
        let mut evidence = good();
        let Heard::Message { told, .. } = &mut bob(&mut evidence).heard[3].1 else { unreachable!() };
        told.place.id = "another".into();
        assert_eq!(judge(&evidence).misnumbered, 1);
    }

    #[test]
    fn a_room_that_began_afresh_is_counted() {
        let mut evidence = good();
        let Heard::Joined { resumed, .. } = &mut bob(&mut evidence).heard[2].1 else { unreachable!() };
        *resumed = false;
        assert_eq!(judge(&evidence).afresh, 1);
    }

    #[test]
    fn a_steady_member_who_is_said_to_be_gone_is_a_false_leave() {
        let mut evidence = good();
        let left = Heard::Presence { left: vec!["ada".into(), "a stranger".into()] };
        bob(&mut evidence).note(left);
        assert_eq!(judge(&evidence).false_leaves, 1);
        let mut evidence = good();
        let Heard::Joined { roster, .. } = &mut bob(&mut evidence).heard[2].1 else { unreachable!() };
        roster.remove(0);
        assert_eq!(judge(&evidence).false_leaves, 1);
    }

    #[test]
    fn the_gone_are_not_in_a_roster_and_the_living_are() {
        let mut evidence = good();
        bob(&mut evidence).roster.insert("cid".into());
        evidence.kept_roster.insert("cid".into());
        assert_eq!(judge(&evidence).ghosts, 2);
        let mut evidence = good();
        bob(&mut evidence).roster.remove("ada");
        assert_eq!(judge(&evidence).missing, 1);
    }

    #[test]
    fn closes_and_useless_answers_are_counted() {
        let mut evidence = good();
        bob(&mut evidence).note(Heard::Lost { how: "4001".into() });
        bob(&mut evidence).refused.push("INTERNAL".into());
        let verdict = judge(&evidence);
        assert_eq!((verdict.closed, verdict.refused), (vec!["4001".to_owned()], 1));
    }
}
