//! What Parlor remembers: each room's messages, numbering, sessions and members, and what is being published.
//!
//! [`MemoryStore`] serves one process, [`RedisStore`] many. Both keep the laws written at each method; the suite
//! `tests/store_contract.rs` holds both to them. Nothing here decides who may do what.

mod attachments;
mod changes;
mod memory;
pub(crate) mod operators;
pub(crate) mod reading;
mod redis;
#[cfg(test)]
mod scripted;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use proto::{
    Timestamp,
    chat::v1::{Member, Message, MessageRef, Position},
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

#[cfg(test)]
pub(crate) use self::scripted::ScriptedStore;
pub use self::{
    attachments::{AttachmentStore, DETACHED_BATCH, Found, NoSuchUpload},
    changes::{Change, ChangeKind, Changed, MAX_KINDS, MAX_REACTIONS, WrongMessage},
    memory::MemoryStore,
    operators::{
        ACTS_KEPT, Act, Acts, Ban, DISCONNECTION_KEPT, Forbidden, MAX_BANS, MAX_KEPT_OUT, OperatorStore,
        Rules,
    },
    reading::{LOOKED_AT, MAX_UNREAD, ROOMS_KEPT, ReadOn, Reader, ReadingStore},
    redis::{Ack, RedisOptions, RedisStore},
};
use crate::ids::{EdgeId, RoomId, SessionName};

/// How long a repeated `client_id` is answered with the first message.
pub const REPEAT_WINDOW: Duration = Duration::from_mins(10);

/// How many departures of a room are remembered, for Links that come back: more than leave a busy room while a room
/// service restarts.
pub const DEPARTURES_KEPT: u32 = 1000;

/// How long they are remembered: a Link that was away for longer finds another roster anyway.
pub const DEPARTURES_TTL: Duration = Duration::from_hours(1);

/// How many heard things may wait for the rooms. Past it, all rooms read what they missed from the store.
const FEED_CAPACITY: usize = 16_384;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached or does not take writes. Whether a write was done is not known; all are safe to repeat.
    #[error("the store cannot be reached: {0}")]
    Unavailable(String),
    /// It holds something that Parlor did not write.
    #[error("the store holds something unexpected: {0}")]
    Broken(String),
    /// An operator forbids it: nothing was done.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The message that was named is none for this: nothing was done.
    #[error(transparent)]
    WrongMessage(#[from] WrongMessage),
    /// What was to be attached cannot be: nothing was done.
    #[error(transparent)]
    NoSuchUpload(#[from] NoSuchUpload),
}

/// Why a probe was not published, in words for an operator. Without addresses: `/readyz` tells them to anyone.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProbeError {
    /// There is no connection.
    #[error("Redis cannot be reached")]
    Away,
    /// The connection stands and brings no answer.
    #[error("Redis does not answer")]
    Silent,
    /// It answers that it will not, and this is the first word of why: `READONLY`, `OOM`, `MISCONF`, …
    #[error("Redis takes no writes ({0})")]
    Refused(String),
    /// It was published, and this process is not among those who hear it.
    #[error("Redis does not tell this room service what is published")]
    Deaf,
}

/// A message that has no number yet.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Where it is said.
    pub room: RoomId,
    /// Who says it.
    pub member: Arc<Member>,
    /// What its sender calls it.
    pub client_id: String,
    /// What is said.
    pub text: String,
    /// What it answers. An empty id is any.
    pub reply_to: Option<MessageRef>,
    /// Who is spoken to, by member id.
    pub mentions: Vec<String>,
    /// Which of the member's uploads are attached, by id.
    pub attachments: Vec<String>,
}

impl Draft {
    /// Of `text` and no more.
    pub fn text(
        room: RoomId,
        member: Arc<Member>,
        client_id: impl Into<String>,
        text: impl Into<String>,
    ) -> Self {
        let (client_id, text) = (client_id.into(), text.into());
        Self { room, member, client_id, text, reply_to: None, mentions: Vec::new(), attachments: Vec::new() }
    }

    /// The room's next message, but for what only the store knows.
    fn to_message(&self) -> Message {
        Message {
            room: self.room.to_string(),
            client_id: self.client_id.clone(),
            text: self.text.clone(),
            member: Some(Member::clone(&self.member)),
            reply_to: self.reply_to.clone(),
            mentions: self.mentions.clone(),
            ..Message::default()
        }
    }
}

/// A message's number.
#[derive(Clone, Debug, PartialEq)]
pub struct Appended {
    /// The run of numbers that it belongs to.
    pub epoch: String,
    /// Its number.
    pub seq: u32,
    /// Its id.
    pub id: String,
    /// When it was kept.
    pub sent_at: Timestamp,
    /// It was appended before, and this is what was answered then.
    pub repeated: bool,
}

/// One session's place in a room.
#[derive(Clone, Debug, PartialEq)]
pub struct Seat {
    /// Which session.
    pub session: SessionName,
    /// Whose. Shared by all who know the session: most of what an idle one costs are its member's words.
    pub member: Arc<Member>,
    /// Where the session is.
    pub edge: EdgeId,
}

/// Where a room stands. By default, as long as nobody has been in it: reading makes no room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Names the current run of numbers; empty before the first join or append.
    pub epoch: String,
    /// The newest number, 0 before the first.
    pub head: u32,
    /// Counts the changes of the roster.
    pub roster_version: u64,
    /// Counts the changes of what operators forbid.
    pub rules_version: u64,
}

/// What joining did.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrival {
    /// Where the room stands now.
    pub standing: Standing,
    /// The member was not in the room before: the roster changed.
    pub new_member: bool,
    /// Up to where the member has read, see [`ReadingStore`].
    pub read: u32,
}

/// What can be said to someone who has seen a room up to a position.
#[derive(Clone, Debug, PartialEq)]
pub struct Resume {
    /// Where the room stands now.
    pub standing: Standing,
    /// True: `messages` is what came after the position, up to the limit. False: it is the newest page.
    pub resumed: bool,
    /// Oldest first.
    pub messages: Vec<Message>,
}

/// A room as a whole, at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Where it stands.
    pub standing: Standing,
    /// The newest page, oldest first.
    pub messages: Vec<Message>,
    /// Everyone in it.
    pub members: Vec<Member>,
}

/// Who left a room after a version of its roster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departures {
    /// These are all. Otherwise the version is of another epoch or not reached, or departures after it are forgotten, and
    /// these are all that are remembered: to hear that somebody left who was never known harms nobody.
    pub proved: bool,
    /// Their ids, without those who are back.
    pub members: Vec<String>,
}

/// What was read of a room's history.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Where the room stands.
    pub standing: Standing,
    /// Oldest first.
    pub messages: Vec<Message>,
}

/// How an edge's lease fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// It was held and goes on.
    Kept,
    /// It was not held, and now is: whatever sessions the edge had before may have been removed.
    Begun,
    /// The edge's sessions are being removed. Ask again soon.
    BeingReaped,
}

/// A change of a room's roster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RosterChange {
    /// Which room's.
    pub room: String,
    /// Who came.
    pub joined: Vec<Member>,
    /// Who went, by id.
    pub left: Vec<String>,
    /// How many are there now.
    pub member_count: u32,
    /// The roster's version with this change: one more than before.
    pub version: u64,
}

/// What is published in a room's topic, one field at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "most of what is published is a message")]
pub enum Published {
    /// A message was appended.
    Message(Message),
    /// The roster changed.
    Presence(RosterChange),
    /// Somebody is writing.
    Typing(proto::chat::v1::Typing),
    /// What operators forbid has changed, to this version.
    Rules(u64),
    /// A member has read on, which is for their other sessions alone.
    Read(ReadOn),
}

/// Which span published it, as `runtime::traces` writes it; empty if that is not traced. It is in what is published and
/// never in what is kept.
pub type Traceparent = String;

/// What a room service hears of its rooms.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// In this room.
    Published(RoomId, Box<Published>, Traceparent),
    /// A probe of this store.
    Probed(u64),
    /// Something may have been missed in any room.
    Gap,
}

/// The seam, with what operators change in [`OperatorStore`], what members have read in [`ReadingStore`], and what is
/// attached in [`AttachmentStore`]. Every method answers within a few seconds, with [`StoreError::Unavailable`] if it must.
#[async_trait]
pub trait Store: OperatorStore + ReadingStore + AttachmentStore {
    /// Numbers `draft`, keeps it, forgets the oldest beyond the bound and publishes it, as one step.
    ///
    /// Numbers are 1, 2, 3, … without holes. A second call with the same room, member and `client_id` within
    /// [`REPEAT_WINDOW`] stores nothing and returns what the first call did, which makes a retry safe. Were these
    /// separate steps, a listener could hear 8 before 7. Whoever operators keep out of the room gets
    /// [`StoreError::Forbidden`], who answers what is not there [`StoreError::WrongMessage`], and
    /// who attaches what is not theirs to attach [`StoreError::NoSuchUpload`].
    async fn append(&self, draft: &Draft) -> Result<Appended, StoreError>;

    /// Folds a change into the message that it names, and appends and publishes the change by the laws of
    /// [`Store::append`], all as one step. Whatever is read of the message from then on has the change in it.
    ///
    /// A change that changes nothing (a reaction that is there already, a deletion of what is deleted) is appended like
    /// any other. What may not be done gets [`StoreError::WrongMessage`].
    async fn change(&self, change: &Change) -> Result<Changed, StoreError>;

    /// Puts a session into a room; the member with their first session. Publishes if the roster changed. A seat
    /// that is already taken by the same session changes nothing. Whoever operators keep out of the room gets
    /// [`StoreError::Forbidden`].
    async fn join(&self, room: &RoomId, seat: &Seat) -> Result<Arrival, StoreError>;

    /// Takes a session out of a room; the member with their last session. Publishes if the roster changed.
    ///
    /// A session that is not there, or is there by another edge, changes nothing: a late leave must not remove
    /// who came back.
    async fn leave(&self, room: &RoomId, session: &SessionName, edge: &EdgeId) -> Result<(), StoreError>;

    /// Tells the room that a member is writing. Keeps nothing.
    async fn typing(&self, room: &RoomId, member: &Member) -> Result<(), StoreError>;

    /// The first `limit` of what came after `since`, if nothing of it is missing, else the newest `page` messages.
    ///
    /// Nothing is missing if the epoch is the same, or the message kept at that number bears that id, and all that
    /// came after is still kept.
    async fn resume(
        &self,
        room: &RoomId,
        since: &Position,
        limit: u32,
        page: u32,
    ) -> Result<Resume, StoreError>;

    /// Up to `limit` messages before number `before` (0: from the newest on).
    async fn history(&self, room: &RoomId, before: u32, limit: u32) -> Result<Page, StoreError>;

    /// The newest `page` messages and everyone in the room, at one moment.
    async fn snapshot(&self, room: &RoomId, page: u32) -> Result<Snapshot, StoreError>;

    /// Who left after version `version` of the roster and is not back.
    ///
    /// The newest [`DEPARTURES_KEPT`] are remembered, for [`DEPARTURES_TTL`] after the last change of them.
    async fn departures(&self, room: &RoomId, epoch: &str, version: u64) -> Result<Departures, StoreError>;

    /// Where the room stands.
    async fn standing(&self, room: &RoomId) -> Result<Standing, StoreError>;

    /// Hears the room from now on: what is published after this returns arrives in the [`Feed`], in order.
    /// Calls are counted.
    async fn subscribe(&self, room: &RoomId) -> Result<(), StoreError>;

    /// Undoes one [`Store::subscribe`].
    async fn unsubscribe(&self, room: &RoomId);

    /// Keeps an edge's sessions for `ttl` from now.
    async fn renew(&self, edge: &EdgeId, ttl: Duration) -> Result<Lease, StoreError>;

    /// Notes that the edge has, or is about to have, sessions in `room`, so that they can be found when it dies. The
    /// leave of its last session there forgets it; a join notes it again.
    async fn note_room(&self, edge: &EdgeId, room: &RoomId) -> Result<(), StoreError>;

    /// Every session of the edge, by room.
    async fn sessions(&self, edge: &EdgeId) -> Result<Vec<(RoomId, SessionName)>, StoreError>;

    /// Removes the sessions of every edge whose lease has lapsed, and publishes who went. At most one caller does
    /// so for one edge; if it dies half-way, another goes on after `ttl`. How many sessions were removed.
    async fn reap(&self, ttl: Duration) -> Result<u64, StoreError>;

    /// Writes and publishes `nonce` as a message would be, outside of every room, for this store alone: then it arrives
    /// in the [`Feed`].
    async fn probe(&self, nonce: u64) -> Result<(), ProbeError>;

    /// The secret that signs tokens: `fresh` if there was none, for everyone from then on.
    async fn token_secret(&self, fresh: &str) -> Result<String, StoreError>;
}

/// Where a store puts what was published; never waits.
#[derive(Clone, Debug)]
pub(crate) struct FeedSender {
    heard: mpsc::Sender<Heard>,
    overflowed: Arc<AtomicBool>,
}

/// What a room service hears, in order.
#[derive(Debug)]
pub struct Feed {
    heard: mpsc::Receiver<Heard>,
    overflowed: Arc<AtomicBool>,
}

fn feed() -> (FeedSender, Feed) {
    let (sender, receiver) = mpsc::channel(FEED_CAPACITY);
    let overflowed = Arc::new(AtomicBool::new(false));
    (FeedSender { heard: sender, overflowed: overflowed.clone() }, Feed { heard: receiver, overflowed })
}

impl FeedSender {
    /// Passes on `heard`. If the queue is full it is dropped, and the reader is told of a gap instead.
    pub(crate) fn put(&self, heard: Heard) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.heard.try_send(heard) {
            self.overflowed.store(true, Ordering::Release);
        }
    }
}

impl Feed {
    /// The next thing; nothing once the store is gone.
    pub async fn next(&mut self) -> Option<Heard> {
        // The queue was full when this was set, so there is something in it to wake up for.
        if self.overflowed.swap(false, Ordering::AcqRel) {
            return Some(Heard::Gap);
        }
        self.heard.recv().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_came_faster_than_it_was_heard_is_a_gap() {
        let (sender, mut feed) = feed();
        let typing = |n: usize| {
            let room = RoomId::parse(&format!("room-{n}")).unwrap();
            let typing = Published::Typing(proto::chat::v1::Typing::default());
            Heard::Published(room, Box::new(typing), Traceparent::new())
        };
        for n in 0..=FEED_CAPACITY {
            sender.put(typing(n));
        }
        assert_eq!(feed.next().await, Some(Heard::Gap));
        assert_eq!(feed.next().await, Some(typing(0)), "what did fit is heard too");
    }
}
