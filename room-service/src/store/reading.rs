//! What the store keeps of a member's own: up to where they have read each room, and which rooms they joined lately.
//!
//! Both are forgotten some time after they were last renewed, so that members who came once leave nothing behind.

use std::time::Duration;

use async_trait::async_trait;
use proto::chat::v1::{Read, RoomSummary};
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::ids::{RoomId, SessionName};

/// How many rooms a member is remembered to have joined.
pub const ROOMS_KEPT: u32 = 100;

/// Up to how many unread messages are counted. More make no difference to a person.
pub const MAX_UNREAD: u32 = 100;

/// How many of a room's newest messages are looked at to count them. Among fewer unread messages all changes are told
/// apart; with more changes than messages the count may stay below [`MAX_UNREAD`], and the work stays small.
pub const LOOKED_AT: u32 = 2 * MAX_UNREAD;

/// Who has read something.
#[derive(Clone, Debug)]
pub struct Reader {
    /// The member's id.
    pub member: String,
    /// In which session, if in any: it need not be told.
    pub session: Option<SessionName>,
    /// How long it is remembered.
    pub keep: Duration,
}

/// Up to where a member has read, published for their other sessions in the room alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReadOn {
    /// The member's id.
    pub member: String,
    /// The session that said so; empty: none did.
    pub session: String,
    /// The room's epoch.
    pub epoch: String,
    /// The last message that they have read.
    pub seq: u32,
}

/// The part of the store that remembers what members have read.
///
/// A position is one of a run of numbers. In another epoch it holds if the message that it names is still kept, which
/// proves that the numbers went on; else nothing counts as read, since its number may name another message.
#[async_trait]
pub trait ReadingStore: Send + Sync + 'static {
    /// Notes that a member has read the room up to `seq`: never further than the newest message, and never back. Up to
    /// where they have read. Publishes that if it is news and they have other sessions in the room.
    ///
    /// A room in which nobody has been has no epoch, and nothing of it is remembered. Whoever operators keep out of the
    /// room gets [`StoreError::Forbidden`].
    async fn read_on(&self, room: &RoomId, reader: &Reader, seq: u32) -> Result<Read, StoreError>;

    /// Notes that a member joined the room. The newest [`ROOMS_KEPT`] are remembered, for `keep` after the last of them.
    async fn note_joined(&self, member: &str, room: &RoomId, keep: Duration) -> Result<(), StoreError>;

    /// The rooms that a member joined lately, newest first.
    async fn joined_lately(&self, member: &str) -> Result<Vec<RoomId>, StoreError>;

    /// The room as this member sees it from outside. Nothing if nobody has been there, or operators keep them out.
    ///
    /// Counted are messages of others after the read position that are no changes, up to [`MAX_UNREAD`] of the newest
    /// [`LOOKED_AT`].
    async fn summary(&self, room: &RoomId, member: &str) -> Result<Option<RoomSummary>, StoreError>;
}
