//! A [`MemoryStore`] to which a test does something at the very moment of a call, so that a race is a sentence.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use proto::chat::v1::{Attachment, Member, Message, Position, Read, RoomSummary};

use super::{
    Acts, Appended, Arrival, AttachmentStore, Change, Changed, Departures, Draft, Feed, Found, Lease,
    MemoryStore, OperatorStore, Page, ProbeError, Reader, ReadingStore, Resume, Rules, Seat, Snapshot,
    Standing, Store, StoreError,
};
use crate::ids::{EdgeId, RoomId, SessionName};

/// See the module's header.
#[derive(Debug)]
pub(crate) struct ScriptedStore {
    inner: MemoryStore,
    script: Mutex<Script>,
}

#[derive(Debug, Default)]
struct Script {
    said_before_snapshot: VecDeque<Draft>,
    said_before_resume: VecDeque<Draft>,
    resumes: VecDeque<Result<Resume, StoreError>>,
    away: bool,
    calls: Vec<&'static str>,
    reads: usize,
}

impl ScriptedStore {
    pub(crate) fn new() -> (Self, Feed) {
        let (inner, feed) = MemoryStore::new(10_000);
        (Self { inner, script: Mutex::default() }, feed)
    }

    /// Says this when a room is next read, before it is.
    pub(crate) fn say_before_snapshot(&self, draft: Draft) {
        self.script().said_before_snapshot.push_back(draft);
    }

    /// Says this when a room is next resumed, before it is.
    pub(crate) fn say_before_resume(&self, draft: Draft) {
        self.script().said_before_resume.push_back(draft);
    }

    /// Answers the next resume with this.
    pub(crate) fn answer_resume(&self, resume: Resume) {
        self.script().resumes.push_back(Ok(resume));
    }

    /// Cannot be reached at the next resume.
    pub(crate) fn refuse_resume(&self) {
        self.script().resumes.push_back(Err(StoreError::Unavailable("refused".to_owned())));
    }

    /// Whether it can be reached.
    pub(crate) fn is_away(&self, away: bool) {
        self.script().away = away;
    }

    /// Which joins, leaves, readings of departures, renewals and reapings were asked for since the last look.
    pub(crate) fn calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.script().calls)
    }

    /// How often a room's messages or members were read since the last look.
    pub(crate) fn reads(&self) -> usize {
        std::mem::take(&mut self.script().reads)
    }

    fn called(&self, call: &'static str) -> Result<(), StoreError> {
        let mut script = self.script();
        script.calls.push(call);
        if script.away { Err(StoreError::Unavailable("away".to_owned())) } else { Ok(()) }
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for ScriptedStore {
    async fn append(&self, draft: &Draft) -> Result<Appended, StoreError> {
        self.inner.append(draft).await
    }

    async fn change(&self, change: &Change) -> Result<Changed, StoreError> {
        self.inner.change(change).await
    }

    async fn join(&self, room: &RoomId, seat: &Seat) -> Result<Arrival, StoreError> {
        self.called("join")?;
        self.inner.join(room, seat).await
    }

    async fn leave(&self, room: &RoomId, session: &SessionName, edge: &EdgeId) -> Result<(), StoreError> {
        self.called("leave")?;
        self.inner.leave(room, session, edge).await
    }

    async fn typing(&self, room: &RoomId, member: &Member) -> Result<(), StoreError> {
        self.inner.typing(room, member).await
    }

    async fn resume(
        &self,
        room: &RoomId,
        since: &Position,
        limit: u32,
        page: u32,
    ) -> Result<Resume, StoreError> {
        self.script().reads += 1;
        let said = self.script().said_before_resume.pop_front();
        if let Some(draft) = said {
            self.inner.append(&draft).await?;
        }
        let scripted = self.script().resumes.pop_front();
        match scripted {
            Some(resume) => resume,
            None => self.inner.resume(room, since, limit, page).await,
        }
    }

    async fn history(&self, room: &RoomId, before: u32, limit: u32) -> Result<Page, StoreError> {
        self.inner.history(room, before, limit).await
    }

    async fn snapshot(&self, room: &RoomId, page: u32) -> Result<Snapshot, StoreError> {
        self.script().reads += 1;
        let said = self.script().said_before_snapshot.pop_front();
        if let Some(draft) = said {
            self.inner.append(&draft).await?;
        }
        self.inner.snapshot(room, page).await
    }

    async fn departures(&self, room: &RoomId, epoch: &str, version: u64) -> Result<Departures, StoreError> {
        self.called("departures")?;
        self.inner.departures(room, epoch, version).await
    }

    async fn standing(&self, room: &RoomId) -> Result<Standing, StoreError> {
        self.inner.standing(room).await
    }

    async fn subscribe(&self, room: &RoomId) -> Result<(), StoreError> {
        self.inner.subscribe(room).await
    }

    async fn unsubscribe(&self, room: &RoomId) {
        self.inner.unsubscribe(room).await;
    }

    async fn renew(&self, edge: &EdgeId, ttl: Duration) -> Result<Lease, StoreError> {
        self.called("renew")?;
        self.inner.renew(edge, ttl).await
    }

    async fn note_room(&self, edge: &EdgeId, room: &RoomId) -> Result<(), StoreError> {
        self.inner.note_room(edge, room).await
    }

    async fn sessions(&self, edge: &EdgeId) -> Result<Vec<(RoomId, SessionName)>, StoreError> {
        self.inner.sessions(edge).await
    }

    async fn reap(&self, ttl: Duration) -> Result<u64, StoreError> {
        self.called("reap")?;
        self.inner.reap(ttl).await
    }

    async fn probe(&self, nonce: u64) -> Result<(), ProbeError> {
        self.inner.probe(nonce).await
    }

    async fn token_secret(&self, fresh: &str) -> Result<String, StoreError> {
        self.inner.token_secret(fresh).await
    }
}

#[async_trait]
impl AttachmentStore for ScriptedStore {
    async fn keep_upload(
        &self,
        room: &RoomId,
        member: &str,
        attachment: &Attachment,
        unsent_ttl: Duration,
    ) -> Result<(), StoreError> {
        self.inner.keep_upload(room, member, attachment, unsent_ttl).await
    }

    async fn attachment(&self, room: &RoomId, id: &str) -> Result<Found, StoreError> {
        self.inner.attachment(room, id).await
    }

    async fn note_detached(&self, room: &RoomId) -> Result<(), StoreError> {
        self.inner.note_detached(room).await
    }

    async fn due_room(&self, claim: Duration) -> Result<Option<RoomId>, StoreError> {
        self.inner.due_room(claim).await
    }

    async fn detached(&self, room: &RoomId, gone: &[String]) -> Result<Vec<String>, StoreError> {
        self.inner.detached(room, gone).await
    }

    async fn looked_through(&self, room: &RoomId, after: Duration) -> Result<(), StoreError> {
        self.inner.looked_through(room, after).await
    }
}

#[async_trait]
impl OperatorStore for ScriptedStore {
    async fn delete(&self, room: &RoomId, seq: u32, id: &str) -> Result<Option<Message>, StoreError> {
        self.inner.delete(room, seq, id).await
    }

    async fn ban(
        &self,
        room: &RoomId,
        member: &str,
        time: Option<Duration>,
        reason: &str,
    ) -> Result<bool, StoreError> {
        self.inner.ban(room, member, time, reason).await
    }

    async fn lift_ban(&self, room: &RoomId, member: &str) -> Result<(), StoreError> {
        self.inner.lift_ban(room, member).await
    }

    async fn close(&self, room: &RoomId, reason: &str) -> Result<(), StoreError> {
        self.inner.close(room, reason).await
    }

    async fn open(&self, room: &RoomId) -> Result<(), StoreError> {
        self.inner.open(room).await
    }

    async fn rules(&self, room: &RoomId) -> Result<Rules, StoreError> {
        self.inner.rules(room).await
    }

    async fn note_act(&self, room: &RoomId) -> Result<(), StoreError> {
        self.inner.note_act(room).await
    }

    async fn keep_out(&self, member: &str, time: Duration, reason: &str) -> Result<bool, StoreError> {
        self.inner.keep_out(member, time, reason).await
    }

    async fn readmit(&self, member: &str) -> Result<(), StoreError> {
        self.inner.readmit(member).await
    }

    async fn acts(&self, since: Option<u64>) -> Result<Acts, StoreError> {
        self.inner.acts(since).await
    }
}

#[async_trait]
impl ReadingStore for ScriptedStore {
    async fn read_on(&self, room: &RoomId, reader: &Reader, seq: u32) -> Result<Read, StoreError> {
        self.inner.read_on(room, reader, seq).await
    }

    async fn note_joined(&self, member: &str, room: &RoomId, keep: Duration) -> Result<(), StoreError> {
        self.inner.note_joined(member, room, keep).await
    }

    async fn joined_lately(&self, member: &str) -> Result<Vec<RoomId>, StoreError> {
        self.inner.joined_lately(member).await
    }

    async fn summary(&self, room: &RoomId, member: &str) -> Result<Option<RoomSummary>, StoreError> {
        self.inner.summary(room, member).await
    }
}
