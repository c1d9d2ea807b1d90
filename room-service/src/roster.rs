//! A replica of one room's roster, and the presence event that is due.
//!
//! Changes are numbered by the store, so that the replica knows when it missed one. What the room hears is merged:
//! the first change at once, then at most one event in [`QUIET`].

use std::collections::BTreeMap;
use std::time::Duration;

use proto::{
    chat::v1::{Member, Presence},
    edge::v1::RosterPlace,
};
use tokio::time::Instant;

use crate::store::{RosterChange, Standing};

/// The least time between two presence events of a room.
pub(crate) const QUIET: Duration = Duration::from_millis(250);

/// Who is in the room, as far as is known here.
#[derive(Debug)]
pub(crate) struct Roster {
    /// In which its version was read.
    epoch: String,
    version: u64,
    members: BTreeMap<String, Member>,
    /// What is not announced yet: who came, or that someone (by id) went.
    pending: BTreeMap<String, Option<Member>>,
    quiet_until: Instant,
}

impl Roster {
    pub(crate) fn new(standing: &Standing, members: Vec<Member>) -> Self {
        Self {
            epoch: standing.epoch.clone(),
            version: standing.roster_version,
            members: by_id(members),
            pending: BTreeMap::new(),
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
        self.members.contains_key(member)
    }

    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.members.len()).unwrap_or(u32::MAX)
    }

    /// Up to `limit` members after the id `after`, by id.
    pub(crate) fn page(&self, after: &str, limit: usize) -> Vec<Member> {
        let range = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        self.members.range::<str, _>(range).take(limit).map(|(_, member)| member.clone()).collect()
    }

    /// Takes in a change. False: one before it is missing, and the roster is to be read again.
    pub(crate) fn apply(&mut self, change: &RosterChange) -> bool {
        if change.version <= self.version {
            return true;
        }
        if change.version > self.version + 1 {
            return false;
        }
        self.version = change.version;
        for member in &change.joined {
            self.add(member.clone());
        }
        for member in &change.left {
            self.remove(member);
        }
        true
    }

    /// Becomes what was read from the store. The difference is announced.
    pub(crate) fn replace(&mut self, standing: Standing, members: Vec<Member>) {
        self.epoch = standing.epoch;
        self.version = standing.roster_version;
        let fresh = by_id(members);
        let gone: Vec<String> = self.members.keys().filter(|id| !fresh.contains_key(*id)).cloned().collect();
        for member in gone {
            self.remove(&member);
        }
        for member in fresh.into_values() {
            if self.members.get(&member.id) != Some(&member) {
                self.add(member);
            }
        }
    }

    fn add(&mut self, member: Member) {
        self.pending.insert(member.id.clone(), Some(member.clone()));
        self.members.insert(member.id.clone(), member);
    }

    fn remove(&mut self, member: &str) {
        if self.members.remove(member).is_some() {
            self.pending.insert(member.to_owned(), None);
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
        self.quiet_until = Instant::now() + QUIET;
        let mut presence =
            Presence { room: room.to_owned(), member_count: self.count(), ..Presence::default() };
        for (id, member) in std::mem::take(&mut self.pending) {
            match member {
                Some(member) => presence.joined.push(member),
                None => presence.left.push(id),
            }
        }
        Some(presence)
    }
}

fn by_id(members: Vec<Member>) -> BTreeMap<String, Member> {
    members.into_iter().map(|member| (member.id.clone(), member)).collect()
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
        assert!(roster.apply(&came("ada", 1)));
        let first = roster.announce("lobby").expect("at once");
        assert_eq!((first.joined.len(), first.member_count), (1, 1));
        for change in [came("bob", 2), came("cid", 3), went("bob", 4)] {
            assert!(roster.apply(&change));
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
        assert!(roster.apply(&went("ada", 4)), "seen already");
        assert!(roster.contains("ada"));
        assert!(!roster.apply(&came("cid", 6)), "5 is missing");
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
}
