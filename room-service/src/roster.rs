//! A replica of one room's roster, and the presence event that is due.
//!
//! Changes are numbered by the store, so that the replica knows when it missed one. What the room hears is merged:
//! the first change at once, then at most one event in [`QUIET`].
//!
//! A room of up to [`MAX_MEMBERS`] is told whole: each of its clients can know everyone. Of a larger one no client needs
//! everyone at once, and to tell each of each other would cost the square of their number; so they are told [`PART`] of
//! them when they join, then [`NEWCOMERS`] of those who come, all of those who go, and the count. What a client shows is
//! then true though it is a part, and whole once there are as many as the count; `members` pages the rest.

use std::{borrow::Borrow, cmp::Ordering, collections::BTreeSet, ops::Bound, sync::Arc, time::Duration};

use proto::{
    chat::v1::{Member, Presence},
    edge::v1::RosterPlace,
};
use tokio::time::Instant;

use crate::store::{RosterChange, Standing};

/// How many members `joined`, an event of presence and a page of `members` name at most.
pub(crate) const MAX_MEMBERS: usize = 200;
/// How many members of a room with more are named to who joins: as many as fit a few screens.
const PART: usize = 50;
/// How many who came are named to those who are there. More than anyone notices at once, and few enough that an event of
/// presence is not much longer than a message: it goes to all of a large room.
const NEWCOMERS: usize = 10;
/// The least time between two presence events of a room.
pub(crate) const QUIET: Duration = Duration::from_millis(250);
/// The same, for each member, in rooms where that is longer: whatever its size, a room costs no more than 4000
/// deliveries of presence a second.
const QUIET_PER_MEMBER: Duration = Duration::from_micros(250);
/// How late a change is heard at most, however large the room is.
const LONGEST_QUIET: Duration = Duration::from_secs(5);

/// Who is in the room, as far as is known here.
#[derive(Debug)]
pub(crate) struct Roster {
    /// In which its version was read.
    epoch: String,
    version: u64,
    members: BTreeSet<ById>,
    /// Who came or went, by id, and is not announced yet. Who of them came is in `members`.
    pending: BTreeSet<String>,
    /// Some may know a part only, since there were more than [`MAX_MEMBERS`].
    in_part: bool,
    quiet_until: Instant,
}

/// A member, in the order of ids.
#[derive(Debug)]
struct ById(Arc<Member>);

impl Roster {
    pub(crate) fn new(standing: &Standing, members: Vec<Member>) -> Self {
        let members = by_id(members);
        Self {
            epoch: standing.epoch.clone(),
            version: standing.roster_version,
            in_part: members.len() > MAX_MEMBERS,
            members,
            pending: BTreeSet::new(),
            quiet_until: Instant::now(),
        }
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Up to where it tells of the room's roster.
    pub(crate) fn place(&self) -> RosterPlace {
        RosterPlace { epoch: self.epoch.clone(), version: self.version }
    }

    pub(crate) fn contains(&self, member: &str) -> bool {
        self.members.contains(member)
    }

    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.members.len()).unwrap_or(u32::MAX)
    }

    /// Up to `limit` members after the id `after`, by id.
    pub(crate) fn page(&self, after: &str, limit: usize) -> Vec<Member> {
        let range = (Bound::Excluded(after), Bound::Unbounded);
        self.members.range::<str, _>(range).take(limit).map(|ById(member)| Member::clone(member)).collect()
    }

    /// Whom those are told of who know nobody yet: everyone, or a part.
    pub(crate) fn told(&self) -> Vec<Member> {
        self.page("", self.named_of_many(PART))
    }

    /// How many are named: all, or `part` if there are too many.
    fn named_of_many(&self, part: usize) -> usize {
        if self.members.len() <= MAX_MEMBERS { MAX_MEMBERS } else { part }
    }

    /// Takes in a change. False: one before it is missing, and the roster is to be read again.
    pub(crate) fn apply(&mut self, change: RosterChange) -> bool {
        if change.version <= self.version {
            return true;
        }
        if change.version > self.version + 1 {
            return false;
        }
        self.version = change.version;
        for member in change.joined {
            self.add(Arc::new(member));
        }
        for member in change.left {
            self.remove(member);
        }
        true
    }

    /// Takes in that `member` came, by the change `version`, if that is the next one.
    pub(crate) fn came(&mut self, member: &Arc<Member>, version: u64) {
        if version == self.version + 1 {
            self.version = version;
            self.add(member.clone());
        }
    }

    /// Holds this very `member`, if one like it is there: what the topic told is a copy.
    pub(crate) fn share(&mut self, member: &Arc<Member>) {
        if self.members.get(&*member.id).is_some_and(|ById(held)| held == member) {
            self.members.replace(ById(member.clone()));
        }
    }

    /// Becomes what was read from the store. The difference is announced.
    pub(crate) fn replace(&mut self, standing: Standing, members: Vec<Member>) {
        self.epoch = standing.epoch;
        self.version = standing.roster_version;
        let fresh = by_id(members);
        let ids = self.members.iter().map(|ById(member)| &member.id);
        let gone: Vec<String> = ids.filter(|id| !fresh.contains(id.as_str())).cloned().collect();
        for member in gone {
            self.remove(member);
        }
        for ById(member) in fresh {
            if self.members.get(&*member.id).is_none_or(|ById(held)| *held != member) {
                self.add(member);
            }
        }
    }

    fn add(&mut self, member: Arc<Member>) {
        self.pending.insert(member.id.clone());
        self.members.replace(ById(member));
        self.in_part |= self.members.len() > MAX_MEMBERS;
    }

    fn remove(&mut self, member: String) {
        if self.members.remove(member.as_str()) {
            self.pending.insert(member);
        }
    }

    /// When the next event is due, if there is anything to announce.
    pub(crate) fn due(&self) -> Option<Instant> {
        (!self.pending.is_empty()).then_some(self.quiet_until)
    }

    /// The event that is due.
    pub(crate) fn announce(&mut self, room: &str) -> Option<Presence> {
        if self.due()? > Instant::now() {
            return None;
        }
        let quiet = QUIET_PER_MEMBER.saturating_mul(self.count()).clamp(QUIET, LONGEST_QUIET);
        self.quiet_until = Instant::now() + quiet;
        let mut presence =
            Presence { room: room.to_owned(), member_count: self.count(), ..Presence::default() };
        let most_named = self.named_of_many(NEWCOMERS);
        if self.in_part && self.members.len() <= MAX_MEMBERS {
            // Small enough from here on: those who know a part are told the rest.
            self.in_part = false;
            self.pending.extend(self.members.iter().map(|ById(member)| member.id.clone()));
        }
        for id in std::mem::take(&mut self.pending) {
            match self.members.get(id.as_str()) {
                Some(_) if presence.joined.len() == most_named => {}
                Some(ById(member)) => presence.joined.push(Member::clone(member)),
                None => presence.left.push(id),
            }
        }
        Some(presence)
    }
}

impl Borrow<str> for ById {
    fn borrow(&self) -> &str {
        &self.0.id
    }
}

impl Ord for ById {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.id.cmp(&other.0.id)
    }
}

impl PartialOrd for ById {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for ById {}

fn by_id(members: Vec<Member>) -> BTreeSet<ById> {
    members.into_iter().map(|member| ById(Arc::new(member))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str) -> Member {
        Member { id: id.to_owned(), ..Member::default() }
    }

    fn came(id: &str, version: u64) -> RosterChange {
        RosterChange { joined: vec![member(id)], version, ..RosterChange::default() }
    }

    fn at(roster_version: u64) -> Standing {
        Standing { roster_version, ..Standing::default() }
    }

    fn went(id: &str, version: u64) -> RosterChange {
        RosterChange { left: vec![id.to_owned()], version, ..RosterChange::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_change_is_told_at_once_and_the_next_are_merged() {
        let mut roster = Roster::new(&at(0), Vec::new());
        assert!(roster.apply(came("ada", 1)));
        let first = roster.announce("lobby").expect("at once");
        assert_eq!((first.joined.len(), first.member_count), (1, 1));
        for change in [came("bob", 2), came("cid", 3), went("bob", 4)] {
            assert!(roster.apply(change));
        }
        assert_eq!(roster.announce("lobby"), None, "not within the quiet time");
        tokio::time::sleep_until(roster.due().unwrap()).await;
        let merged = roster.announce("lobby").expect("after the quiet time");
        assert_eq!(merged.joined, [member("cid")]);
        assert_eq!(merged.left, ["bob"]);
        assert_eq!(merged.member_count, 2);
        assert_eq!(roster.due(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_repeated_change_is_ignored_and_a_missing_one_is_noticed() {
        let mut roster = Roster::new(&at(4), vec![member("ada")]);
        assert!(roster.apply(went("ada", 4)), "seen already");
        assert!(roster.contains("ada"));
        assert!(!roster.apply(came("cid", 6)), "5 is missing");
        roster.replace(at(6), vec![member("bob"), member("cid")]);
        let difference = roster.announce("lobby").unwrap();
        assert_eq!(difference.joined, [member("bob"), member("cid")]);
        assert_eq!(difference.left, ["ada"]);
    }

    #[tokio::test(start_paused = true)]
    async fn pages_follow_each_other() {
        let roster = Roster::new(&at(0), ["a", "b", "c"].map(member).to_vec());
        assert_eq!(roster.page("", 2), ["a", "b"].map(member));
        assert_eq!(roster.page("b", 2), [member("c")]);
    }

    /// A room of so many that are announced already.
    fn of(count: usize) -> Roster {
        Roster::new(&at(0), (0..count).map(|n| member(&format!("m_{n:05}"))).collect())
    }

    #[test]
    fn a_room_is_told_whole_up_to_a_page_and_in_part_beyond_it() {
        assert_eq!(of(MAX_MEMBERS).told().len(), MAX_MEMBERS);
        assert_eq!(of(MAX_MEMBERS + 1).told().len(), PART);
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_large_room_some_who_came_are_named_and_all_who_went() {
        let mut roster = of(MAX_MEMBERS);
        let everyone: Vec<Member> = roster.page("", MAX_MEMBERS);
        let newcomers = (0..=PART).map(|n| member(&format!("n_{n}")));
        roster.replace(at(1), everyone.into_iter().skip(PART + 2).chain(newcomers.clone()).collect());
        let presence = roster.announce("lobby").unwrap();
        assert_eq!((presence.joined.len(), presence.left.len()), (PART + 1, PART + 2), "it is a page still");
        roster.replace(at(2), of(MAX_MEMBERS).page("", MAX_MEMBERS).into_iter().chain(newcomers).collect());
        tokio::time::sleep_until(roster.due().unwrap()).await;
        assert_eq!(roster.announce("lobby").unwrap().joined.len(), NEWCOMERS);
    }

    #[tokio::test(start_paused = true)]
    async fn a_room_that_was_told_in_part_is_told_whole_when_it_is_small_enough() {
        let mut roster = of(MAX_MEMBERS + 1);
        roster.apply(went("m_00000", 1));
        let presence = roster.announce("lobby").unwrap();
        assert_eq!((presence.joined.len(), presence.left.len()), (MAX_MEMBERS, 1));
        roster.apply(went("m_00001", 2));
        tokio::time::sleep_until(roster.due().unwrap()).await;
        assert_eq!(roster.announce("lobby").unwrap().joined, [], "once");
    }

    #[tokio::test(start_paused = true)]
    async fn the_larger_a_room_the_longer_it_is_quiet() {
        for (count, quiet) in [(1000, QUIET), (2000, 2 * QUIET), (100_000, LONGEST_QUIET)] {
            let mut roster = of(count);
            let gone = |n: usize| went(&format!("m_{n:05}"), n as u64 + 1);
            roster.apply(gone(0));
            assert!(roster.announce("lobby").is_some(), "the first is told at once");
            roster.apply(gone(1));
            let waits = roster.due().unwrap() - Instant::now();
            assert!(waits <= quiet && waits + QUIET_PER_MEMBER >= quiet, "{waits:?} with {count}");
        }
    }
}
