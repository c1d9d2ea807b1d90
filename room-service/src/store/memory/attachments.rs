//! Attachments, in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use async_trait::async_trait;
use proto::chat::v1::Attachment;
use tokio::time::Instant;

use super::{MemoryStore, Room};
use crate::{
    ids::RoomId,
    store::{AttachmentStore, DETACHED_BATCH, Found, NoSuchUpload, StoreError},
};

/// Those of one room, by id.
#[derive(Debug, Default)]
pub(super) struct Attachments {
    unsent: BTreeMap<String, Upload>,
    /// Each with the seq of its message.
    attached: BTreeMap<String, (u32, Attachment)>,
    detached: BTreeSet<String>,
    /// When they are to be looked through; never, as long as there are none.
    due: Option<Instant>,
}

#[derive(Debug)]
struct Upload {
    member: String,
    attachment: Attachment,
    until: Instant,
}

impl Attachments {
    /// What these are, if `member` brought all of them and sent none.
    pub(super) fn uploads(&self, member: &str, ids: &[String]) -> Result<Vec<Attachment>, NoSuchUpload> {
        let upload = |id| self.unsent.get(id).filter(|upload| upload.member == member);
        ids.iter().map(|id| Ok(upload(id).ok_or(NoSuchUpload)?.attachment.clone())).collect()
    }

    /// These are the message's with that seq from now on.
    pub(super) fn attach(&mut self, seq: u32, ids: &[String]) {
        for id in ids {
            if let Some(upload) = self.unsent.remove(id) {
                self.attached.insert(id.clone(), (seq, upload.attachment));
            }
        }
    }

    /// Detaches those of a message.
    pub(super) fn detach(&mut self, ids: &[String]) {
        for id in ids {
            if self.attached.remove(id).is_some() {
                self.detached.insert(id.clone());
            }
        }
    }

    /// Detaches those whose message is older than `oldest`, and those that were not sent in time.
    fn sweep(&mut self, oldest: u32) {
        let forgotten = self.attached.extract_if(.., |_, (seq, _)| *seq < oldest).map(|(id, _)| id);
        self.detached.extend(forgotten);
        let now = Instant::now();
        self.detached.extend(self.unsent.extract_if(.., |_, upload| upload.until <= now).map(|(id, _)| id));
    }

    fn is_empty(&self) -> bool {
        self.unsent.is_empty() && self.attached.is_empty() && self.detached.is_empty()
    }
}

impl Room {
    /// The seq of the oldest message that is kept.
    fn oldest(&self) -> u32 {
        self.messages.front().map_or(u32::MAX, |message| message.seq)
    }
}

#[async_trait]
impl AttachmentStore for MemoryStore {
    async fn keep_upload(
        &self,
        room: &RoomId,
        member: &str,
        attachment: &Attachment,
        unsent_ttl: Duration,
    ) -> Result<(), StoreError> {
        let mut state = self.lock();
        let room = state.room(room);
        if let Some(forbidden) = room.rules.forbid(member) {
            return Err(forbidden.into());
        }
        let now = Instant::now();
        let upload =
            Upload { member: member.to_owned(), attachment: attachment.clone(), until: now + unsent_ttl };
        room.attachments.unsent.insert(attachment.id.clone(), upload);
        room.attachments.due = Some(now);
        Ok(())
    }

    async fn attachment(&self, room: &RoomId, id: &str) -> Result<Found, StoreError> {
        Ok(self.lock().read(room, |room| {
            let attached = room.attachments.attached.get(id).filter(|(seq, _)| *seq >= room.oldest());
            Found {
                attachment: attached.map(|(_, attachment)| attachment.clone()),
                rules_version: room.rules.version,
            }
        }))
    }

    async fn note_detached(&self, room: &RoomId) -> Result<(), StoreError> {
        if let Some(room) = self.lock().rooms.get_mut(room) {
            room.attachments.due = Some(Instant::now());
        }
        Ok(())
    }

    async fn due_room(&self, claim: Duration) -> Result<Option<RoomId>, StoreError> {
        let now = Instant::now();
        let mut state = self.lock();
        let due = state.rooms.iter_mut().find(|(_, room)| room.attachments.due.is_some_and(|at| at <= now));
        Ok(due.map(|(room_id, room)| {
            room.attachments.due = Some(now + claim);
            room_id.clone()
        }))
    }

    async fn detached(&self, room: &RoomId, gone: &[String]) -> Result<Vec<String>, StoreError> {
        let mut state = self.lock();
        let Some(room) = state.rooms.get_mut(room) else { return Ok(Vec::new()) };
        let oldest = room.oldest();
        for id in gone {
            room.attachments.detached.remove(id);
        }
        room.attachments.sweep(oldest);
        Ok(room.attachments.detached.iter().take(DETACHED_BATCH as usize).cloned().collect())
    }

    async fn looked_through(&self, room: &RoomId, after: Duration) -> Result<(), StoreError> {
        if let Some(room) = self.lock().rooms.get_mut(room) {
            let now = Instant::now();
            if room.attachments.is_empty() {
                room.attachments.due = None;
            } else if room.attachments.due.is_none_or(|due| due > now) {
                // Else something was noted meanwhile.
                room.attachments.due = Some(now + after);
            }
        }
        Ok(())
    }
}
