//! What the store keeps of files that are attached to messages: what each is, and which are nobody's any more. The files
//! themselves are elsewhere (`runtime::objects`), by the ids of these.

use std::time::Duration;

use async_trait::async_trait;
use proto::chat::v1::Attachment;

use super::StoreError;
use crate::ids::RoomId;

/// How many detached attachments are given at once: their files are removed one after the other.
pub const DETACHED_BATCH: u32 = 100;

/// What was to be sent is no attachment of its sender's in that room; or it was sent before, or waited for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "attachments: you brought no such file to this room, or it was sent already, or waited for too long."
)]
pub struct NoSuchUpload;

/// An attachment as it is looked up.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// What it is; nothing if no message that is kept has it.
    pub attachment: Option<Attachment>,
    /// The version of what operators forbid in the room.
    pub rules_version: u64,
}

/// The part of the store about attachments.
///
/// An attachment is one member's who brought it, then a message's, then nobody's: it is *detached* when its message is
/// deleted or forgotten, or when it was not sent in time. From that moment it is not found, and its id is kept until its
/// file is gone. All of this may be repeated.
#[async_trait]
pub trait AttachmentStore: Send + Sync + 'static {
    /// Keeps what `attachment` is, which `member` brings to the room, for `unsent_ttl` or until it is sent. Whoever
    /// operators keep out of the room gets [`StoreError::Forbidden`].
    async fn keep_upload(
        &self,
        room: &RoomId,
        member: &str,
        attachment: &Attachment,
        unsent_ttl: Duration,
    ) -> Result<(), StoreError>;

    /// The attachment with that id of one of the room's messages.
    async fn attachment(&self, room: &RoomId, id: &str) -> Result<Found, StoreError>;

    /// Has the room looked through soon, since something of it was detached.
    async fn note_detached(&self, room: &RoomId) -> Result<(), StoreError>;

    /// A room that is to be looked through now. It is given to one caller, and to another one if this has not said
    /// [`Self::looked_through`] within `claim`.
    async fn due_room(&self, claim: Duration) -> Result<Option<RoomId>, StoreError>;

    /// Forgets those of `gone`, whose files are removed; and gives up to [`DETACHED_BATCH`] others of the room that are
    /// detached by now.
    async fn detached(&self, room: &RoomId, gone: &[String]) -> Result<Vec<String>, StoreError>;

    /// The room is due again `after` so long, or not at all if it has no attachments any more; at once if something was
    /// noted, or the claim ended, meanwhile.
    async fn looked_through(&self, room: &RoomId, after: Duration) -> Result<(), StoreError>;
}
