//! What the store keeps of the acts of operators: deleted messages, who is banned from a room, which rooms are closed,
//! who is kept out of all of them. What operators may do is `operators.rs` of the crate.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use proto::chat::v1::Message;
use tokio::time::Instant;

use super::StoreError;
use crate::ids::RoomId;

/// How many members may be banned from one room: a room service reads all of them when one changes.
pub const MAX_BANS: u32 = 1000;

/// How many members may be kept out of all rooms: every room service holds them.
pub const MAX_KEPT_OUT: u32 = 1000;

/// How many of the newest acts are kept. Room services look twice a second, so that this is more than operators do
/// meanwhile.
pub const ACTS_KEPT: u32 = 1000;

/// How long it is kept that a member was disconnected, for room services that were out of touch.
pub const DISCONNECTION_KEPT: Duration = Duration::from_mins(10);

/// Why a member may not be there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// Nobody may be in the room.
    #[error("An operator closed this room{}", because(.reason))]
    Closed {
        /// An operator's words; may be empty.
        reason: String,
    },
    /// This member may not be in the room.
    #[error("An operator banned you from this room{}", because(.reason))]
    Banned {
        /// An operator's words; may be empty.
        reason: String,
    },
}

/// A time in which a member is kept out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// When it ends. Nothing: when it is lifted.
    pub until: Option<Instant>,
    /// An operator's words; may be empty.
    pub reason: String,
}

/// What operators forbid in one room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Counts their changes. 0: nothing was ever forbidden.
    pub version: u64,
    /// Nobody may be there, for this reason.
    pub closed: Option<String>,
    /// Who may not be there, by member id.
    pub bans: BTreeMap<String, Ban>,
}

/// Something that operators did, and that a room service is to look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// In this room.
    Room(RoomId),
    /// To this member.
    Member(String),
}

/// What operators did lately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acts {
    /// The number of the newest.
    pub number: u64,
    /// What they did since the number that was asked for, or all that is kept if the store does not know that.
    pub acts: Vec<Act>,
    /// Who is kept out of all rooms, by member id, if there was something new. One whose time is over was only
    /// disconnected.
    pub kept_out: Option<BTreeMap<String, Ban>>,
}

/// The part of the store that operators change. All that changes something may be repeated.
#[async_trait]
pub trait OperatorStore: Send + Sync + 'static {
    /// Leaves a tombstone in the place of message `seq`, appends and publishes a message that says so, as one step. The
    /// tombstone; nothing if no message with that number (and that `id`, if it is not empty) is kept.
    ///
    /// A second call does nothing more.
    async fn delete(&self, room: &RoomId, seq: u32, id: &str) -> Result<Option<Message>, StoreError>;

    /// Keeps a member out of the room from now on: no join and no append of theirs is done. Publishes that the rules
    /// changed. False: [`MAX_BANS`] are kept out already.
    async fn ban(
        &self,
        room: &RoomId,
        member: &str,
        time: Option<Duration>,
        reason: &str,
    ) -> Result<bool, StoreError>;

    /// Undoes [`OperatorStore::ban`].
    async fn lift_ban(&self, room: &RoomId, member: &str) -> Result<(), StoreError>;

    /// Keeps everyone out of the room from now on: no join and no append is done. Publishes that the rules changed.
    async fn close(&self, room: &RoomId, reason: &str) -> Result<(), StoreError>;

    /// Undoes [`OperatorStore::close`].
    async fn open(&self, room: &RoomId) -> Result<(), StoreError>;

    /// What is forbidden in the room.
    async fn rules(&self, room: &RoomId) -> Result<Rules, StoreError>;

    /// Notes that something was done in a room, so that who did not hear of it looks.
    async fn note_act(&self, room: &RoomId) -> Result<(), StoreError>;

    /// Notes that a member is to be disconnected, and kept out for `time`. False: [`MAX_KEPT_OUT`] are kept out already.
    async fn keep_out(&self, member: &str, time: Duration, reason: &str) -> Result<bool, StoreError>;

    /// Does not keep a member out any more.
    async fn readmit(&self, member: &str) -> Result<(), StoreError>;

    /// What was done since the act of that number; nothing: all that is kept.
    async fn acts(&self, since: Option<u64>) -> Result<Acts, StoreError>;
}

impl Ban {
    pub(super) fn is_over(&self) -> bool {
        self.until.is_some_and(|until| until <= Instant::now())
    }
}

impl Rules {
    /// Why this member may not be in the room now; nothing if they may.
    pub fn forbid(&self, member: &str) -> Option<Forbidden> {
        if let Some(reason) = &self.closed {
            return Some(Forbidden::Closed { reason: reason.clone() });
        }
        let ban = self.bans.get(member).filter(|ban| !ban.is_over())?;
        Some(Forbidden::Banned { reason: ban.reason.clone() })
    }
}

/// How an operator's words end a sentence.
pub(crate) fn because(reason: &str) -> String {
    if reason.is_empty() { ".".to_owned() } else { format!(": {reason}") }
}
