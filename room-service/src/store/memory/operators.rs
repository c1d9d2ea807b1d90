//! What operators changed, in memory.

use std::time::Duration;

use async_trait::async_trait;
use proto::chat::v1::{Message, MessageRef};
use tokio::time::Instant;

use super::{MemoryStore, State};
use crate::{
    ids::RoomId,
    store::{
        ACTS_KEPT, Act, Acts, Ban, DISCONNECTION_KEPT, MAX_BANS, MAX_KEPT_OUT, OperatorStore, Published,
        Rules, StoreError,
    },
};

#[async_trait]
impl OperatorStore for MemoryStore {
    async fn delete(&self, room_id: &RoomId, seq: u32, id: &str) -> Result<Option<Message>, StoreError> {
        let mut state = self.lock();
        let Some(room) = state.rooms.get_mut(room_id) else { return Ok(None) };
        let Some(message) = room.find(&MessageRef { seq, id: id.to_owned() }) else { return Ok(None) };
        if message.deleted {
            return Ok(Some(message.clone()));
        }
        let mut tombstone = message.clone();
        let deletion = Message { room: room_id.to_string(), deletes: seq, ..Message::default() };
        let (deletion, _) = room.keep_change(deletion, self.history_max);
        tombstone.apply(&deletion);
        state.publish(&self.feed, room_id, Published::Message(deletion));
        Ok(Some(tombstone))
    }

    async fn ban(
        &self,
        room_id: &RoomId,
        member: &str,
        time: Option<Duration>,
        reason: &str,
    ) -> Result<bool, StoreError> {
        let mut state = self.lock();
        let bans = &mut state.room(room_id).rules.bans;
        bans.retain(|_, ban| !ban.is_over());
        if bans.len() >= MAX_BANS as usize && !bans.contains_key(member) {
            return Ok(false);
        }
        let until = time.map(|time| Instant::now() + time);
        bans.insert(member.to_owned(), Ban { until, reason: reason.to_owned() });
        self.tell_of_rules(&mut state, room_id);
        Ok(true)
    }

    async fn lift_ban(&self, room_id: &RoomId, member: &str) -> Result<(), StoreError> {
        let mut state = self.lock();
        if let Some(room) = state.rooms.get_mut(room_id) {
            room.rules.bans.remove(member);
            self.tell_of_rules(&mut state, room_id);
        }
        Ok(())
    }

    async fn close(&self, room_id: &RoomId, reason: &str) -> Result<(), StoreError> {
        let mut state = self.lock();
        state.room(room_id).rules.closed = Some(reason.to_owned());
        self.tell_of_rules(&mut state, room_id);
        Ok(())
    }

    async fn open(&self, room_id: &RoomId) -> Result<(), StoreError> {
        let mut state = self.lock();
        if let Some(room) = state.rooms.get_mut(room_id) {
            room.rules.closed = None;
            self.tell_of_rules(&mut state, room_id);
        }
        Ok(())
    }

    async fn rules(&self, room: &RoomId) -> Result<Rules, StoreError> {
        let mut rules = self.lock().read(room, |room| room.rules.clone());
        rules.bans.retain(|_, ban| !ban.is_over());
        Ok(rules)
    }

    async fn note_act(&self, room: &RoomId) -> Result<(), StoreError> {
        self.lock().note(Act::Room(room.clone()));
        Ok(())
    }

    async fn keep_out(&self, member: &str, time: Duration, reason: &str) -> Result<bool, StoreError> {
        let mut state = self.lock();
        let now = Instant::now();
        let kept_out = &mut state.kept_out;
        kept_out.retain(|_, ban| ban.until.is_none_or(|until| until + DISCONNECTION_KEPT > now));
        if kept_out.len() >= MAX_KEPT_OUT as usize && !kept_out.contains_key(member) {
            return Ok(false);
        }
        kept_out.insert(member.to_owned(), Ban { until: Some(now + time), reason: reason.to_owned() });
        state.note(Act::Member(member.to_owned()));
        Ok(true)
    }

    async fn readmit(&self, member: &str) -> Result<(), StoreError> {
        let mut state = self.lock();
        state.kept_out.remove(member);
        state.note(Act::Member(member.to_owned()));
        Ok(())
    }

    async fn acts(&self, since: Option<u64>) -> Result<Acts, StoreError> {
        let state = self.lock();
        let number = state.acts.last().map_or(0, |(number, _)| *number);
        if since == Some(number) {
            return Ok(Acts { number, acts: Vec::new(), kept_out: None });
        }
        let new = state.acts.iter().filter(|(number, _)| since.is_none_or(|since| *number > since));
        let acts = new.map(|(_, act)| act.clone()).collect();
        Ok(Acts { number, acts, kept_out: Some(state.kept_out.clone()) })
    }
}

impl MemoryStore {
    fn tell_of_rules(&self, state: &mut State, room_id: &RoomId) {
        let rules = &mut state.room(room_id).rules;
        rules.version += 1;
        let version = rules.version;
        state.publish(&self.feed, room_id, Published::Rules(version));
    }
}

impl State {
    /// Each thing once, with the number of the last time.
    fn note(&mut self, act: Act) {
        let number = self.acts.last().map_or(0, |(number, _)| *number) + 1;
        self.acts.retain(|(_, other)| *other != act);
        self.acts.push((number, act));
        if self.acts.len() > ACTS_KEPT as usize {
            self.acts.remove(0);
        }
    }
}
