//! What a member has read, and which rooms they were in lately: a member's own affair, which nobody else learns.
//!
//! Sessions and calls ask by the same rules. Where it is kept is `store/reading.rs`.

use std::{future::Future, sync::atomic::Ordering, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use proto::chat::v1::{Read, RoomSummary, RoomsPage};
use tokio::time::timeout;

use crate::{
    Service,
    identity::Identity,
    ids::{RoomId, SessionName},
    refusal::Refusal,
    store::{Reader, StoreError},
};

/// How many rooms of a member are summed up at once.
const ROOMS_AT_ONCE: usize = 16;
/// How long a join waits until it is noted where its member was: longer than a store that is there takes.
const NOTED_WITHIN: Duration = Duration::from_millis(250);

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
        let noted = in_time(self.store.note_joined(&who.member.id, room, self.remembered(who))).await;
        // Said once, however many joins it concerns.
        let was_noted = self.notes_joins.swap(noted.is_ok(), Ordering::Relaxed);
        if let (Err(error), true) = (noted, was_noted) {
            tracing::warn!(%error, "joins are not noted in the lists of rooms for now");
        }
    }

    fn remembered(&self, who: &Identity) -> Duration {
        if who.until.is_some() { self.settings.remember_users } else { self.settings.remember_guests }
    }
}

async fn in_time(noted: impl Future<Output = Result<(), StoreError>>) -> Result<(), StoreError> {
    let late = |_| StoreError::Unavailable("a join was not noted in time".to_owned());
    timeout(NOTED_WITHIN, noted).await.map_err(late)?
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_join_is_not_held_up_by_a_store_that_does_not_answer() {
        assert!(in_time(pending()).await.is_err());
        assert!(in_time(async { Ok(()) }).await.is_ok());
    }
}
