//! What members have read, in memory.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    time::Duration,
};

use async_trait::async_trait;
use proto::chat::v1::{Position, Read, RoomSummary};
use tokio::time::Instant;

use super::{MemoryStore, State};
use crate::{
    ids::RoomId,
    store::{
        Published, StoreError,
        reading::{LOOKED_AT, MAX_UNREAD, ROOMS_KEPT, ReadOn, Reader, ReadingStore},
    },
};

/// What members have read and where they were.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// By room and member.
    positions: Remembered<(RoomId, String), Position>,
    /// By member, newest first.
    joined: Remembered<String, Vec<RoomId>>,
}

/// Values that are forgotten some time after they were put.
#[derive(Debug)]
struct Remembered<Key, Value> {
    entries: HashMap<Key, (Instant, Value)>,
    due: BTreeSet<(Instant, Key)>,
}

impl<Key, Value> Default for Remembered<Key, Value> {
    fn default() -> Self {
        Self { entries: HashMap::new(), due: BTreeSet::new() }
    }
}

impl<Key: Clone + Hash + Ord, Value> Remembered<Key, Value> {
    fn get(&self, key: &Key) -> Option<&Value> {
        self.entries.get(key).filter(|(until, _)| *until > Instant::now()).map(|(_, value)| value)
    }

    fn put(&mut self, key: Key, value: Value, keep: Duration) {
        let now = Instant::now();
        while let Some((until, key)) = self.due.pop_first() {
            if until > now {
                self.due.insert((until, key));
                break;
            }
            self.entries.remove(&key);
        }
        if let Some((until, _)) = self.entries.insert(key.clone(), (now + keep, value)) {
            self.due.remove(&(until, key.clone()));
        }
        self.due.insert((now + keep, key));
    }
}

impl State {
    /// Up to where a member has read a room.
    pub(super) fn read_up_to(&self, room_id: &RoomId, member: &str) -> u32 {
        let position = self.reading.positions.get(&(room_id.clone(), member.to_owned()));
        let (Some(room), Some(position)) = (self.rooms.get(room_id), position) else { return 0 };
        let proved = position.epoch == room.epoch
            || room.messages.iter().any(|message| message.seq == position.seq && message.id == position.id);
        if proved { position.seq } else { 0 }
    }
}

#[async_trait]
impl ReadingStore for MemoryStore {
    async fn read_on(&self, room_id: &RoomId, reader: &Reader, seq: u32) -> Result<Read, StoreError> {
        let mut state = self.lock();
        let before = state.read_up_to(room_id, &reader.member);
        let Some(room) = state.rooms.get(room_id) else {
            return Ok(Read { room: room_id.to_string(), ..Read::default() });
        };
        if let Some(forbidden) = room.rules.forbid(&reader.member) {
            return Err(forbidden.into());
        }
        let (epoch, seq) = (room.epoch.clone(), before.max(seq.min(room.head)));
        let there = room.messages.iter().find(|message| message.seq == seq);
        let id = there.map(|message| message.id.clone()).unwrap_or_default();
        let others = room.sessions.iter().any(|(session, (member, _))| {
            *member == reader.member && Some(session) != reader.session.as_ref()
        });
        let position = Position { epoch: epoch.clone(), seq, id };
        state.reading.positions.put((room_id.clone(), reader.member.clone()), position, reader.keep);
        if seq > before && others {
            let session = reader.session.as_ref().map(|session| session.0.to_string()).unwrap_or_default();
            let read = ReadOn { member: reader.member.clone(), session, epoch: epoch.clone(), seq };
            state.publish(&self.feed, room_id, Published::Read(read));
        }
        Ok(Read { room: room_id.to_string(), epoch, seq })
    }

    async fn note_joined(&self, member: &str, room: &RoomId, keep: Duration) -> Result<(), StoreError> {
        let joined = &mut self.lock().reading.joined;
        let member = member.to_owned();
        let before = joined.get(&member).into_iter().flatten().filter(|other| *other != room);
        let rooms = std::iter::once(room).chain(before).take(ROOMS_KEPT as usize).cloned().collect();
        joined.put(member, rooms, keep);
        Ok(())
    }

    async fn joined_lately(&self, member: &str) -> Result<Vec<RoomId>, StoreError> {
        Ok(self.lock().reading.joined.get(&member.to_owned()).cloned().unwrap_or_default())
    }

    async fn summary(&self, room_id: &RoomId, member: &str) -> Result<Option<RoomSummary>, StoreError> {
        let state = self.lock();
        let room = state.rooms.get(room_id).filter(|room| room.rules.forbid(member).is_none());
        let Some(room) = room else { return Ok(None) };
        let read = state.read_up_to(room_id, member);
        let (mut unread, mut mentions) = (0, 0);
        let newest = room.messages.iter().rev().take_while(|message| message.seq > read);
        let others = newest.take(LOOKED_AT as usize).filter(|message| {
            !message.deleted
                && message.changes().is_none()
                && message.member.as_ref().is_none_or(|sender| sender.id != member)
        });
        for message in others.take(MAX_UNREAD as usize) {
            unread += 1;
            mentions += u32::from(message.mentions.iter().any(|mentioned| mentioned == member));
        }
        Ok(Some(RoomSummary {
            room: room_id.to_string(),
            epoch: room.epoch.clone(),
            head: room.head,
            read,
            unread,
            mentions,
            member_count: u32::try_from(room.members.len()).unwrap_or(u32::MAX),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_came_once_leaves_nothing_behind() {
        let mut remembered = Remembered::default();
        let (day, month) = (Duration::from_hours(24), Duration::from_hours(24 * 30));
        for guest in 0..100 {
            remembered.put(guest, "read", day);
        }
        remembered.put(0, "user", month);
        remembered.put(1, "read on", 2 * day);
        tokio::time::advance(day).await;
        assert_eq!(
            (remembered.get(&0), remembered.get(&1), remembered.get(&2)),
            (Some(&"user"), Some(&"read on"), None)
        );
        remembered.put(100, "read", day);
        assert_eq!((remembered.entries.len(), remembered.due.len()), (3, 3));
    }
}
