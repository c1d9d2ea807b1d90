//! What a member has read, and which rooms they were in lately: a member's own affair, which nobody else learns.
//!
//! Sessions and calls ask by the same rules. Where it is kept is `store/reading.rs`.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use proto::chat::v1::{Read, RoomSummary, RoomsPage};

use crate::{
    Service,
    identity::Identity,
    ids::{RoomId, SessionName},
    refusal::Refusal,
    store::Reader,
};

/// How many rooms of a member are summed up at once.
const ROOMS_AT_ONCE: usize = 16;

impl Service {
    /// Notes that `who` has read a room, in a session or without one. Up to where they have.
    pub(crate) async fn read_on(
        &self,
        room: &RoomId,
        seq: u32,
        who: &Identity,
        session: Option<&SessionName>,
    ) -> Result<Read, Refusal> {
        let keep = self.remembered(who);
        let reader = Reader { member: who.member.id.clone(), session: session.cloned(), keep };
        Ok(self.store.read_on(room, &reader, seq).await?)
    }

    /// The rooms that `who` joined lately and may still enter, newest first.
    pub(crate) async fn rooms_of(&self, who: &Identity) -> Result<RoomsPage, Refusal> {
        let member = &who.member.id;
        self.limits.allow_rooms(member)?;
        let mut rooms = self.store.joined_lately(member).await?;
        rooms.retain(|room| who.access.may_read(room));
        let summaries = stream::iter(rooms).map(async |room| self.store.summary(&room, member).await);
        let summaries: Vec<Option<RoomSummary>> = summaries.buffered(ROOMS_AT_ONCE).try_collect().await?;
        Ok(RoomsPage { rooms: summaries.into_iter().flatten().collect() })
    }

    /// Notes that `who` joins a room. Whatever becomes of it, the join is not held up: the next one notes it again.
    pub(crate) async fn note_joined(&self, room: &RoomId, who: &Identity) {
        if let Err(error) = self.store.note_joined(&who.member.id, room, self.remembered(who)).await {
            tracing::debug!(%room, %error, "a join is not noted");
        }
    }

    fn remembered(&self, who: &Identity) -> Duration {
        if who.until.is_some() { self.settings.remember_users } else { self.settings.remember_guests }
    }
}
