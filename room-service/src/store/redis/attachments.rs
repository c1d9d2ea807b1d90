//! Attachments, in Redis. What they are is in the room's slot; which rooms have some, in a set of its own.

use std::time::Duration;

use async_trait::async_trait;
use fred::{
    interfaces::{HashesInterface, SetsInterface, SortedSetsInterface},
    types::Value,
};
use proto::chat::v1::Attachment;

use super::{RedisStore, bans_key, millis, room_keys, to_json, trouble::translate};
use crate::{
    ids::RoomId,
    store::{AttachmentStore, DETACHED_BATCH, Found, StoreError},
};

/// Which rooms have attachments, each with when it is to be looked through next.
const ROOMS: &str = "chat:attachments";

#[async_trait]
impl AttachmentStore for RedisStore {
    async fn keep_upload(
        &self,
        room: &RoomId,
        member: &str,
        attachment: &Attachment,
        unsent_ttl: Duration,
    ) -> Result<(), StoreError> {
        // Before, so that it is found whatever happens; and after, since the room may have been forgotten in between.
        self.note_detached(room).await?;
        let mut keys = room_keys(room);
        let [what, unsent, ..] = attachment_keys(room);
        keys.extend([what, unsent, bans_key(room)]);
        let mut args = self.room_args(room);
        args.extend([
            member.into(),
            attachment.id.as_str().into(),
            to_json(attachment).into(),
            millis(unsent_ttl).into(),
        ]);
        let _: u8 = self.run_acknowledged(&self.scripts.upload, keys, args).await?;
        self.note_detached(room).await
    }

    async fn attachment(&self, room: &RoomId, id: &str) -> Result<Found, StoreError> {
        let mut keys = room_keys(room);
        let [what, _, sent, _] = attachment_keys(room);
        keys.extend([what, sent]);
        let mut args = self.room_args(room);
        args.push(id.into());
        let (found, rules_version): (String, u64) = self.run(&self.scripts.attachment, keys, args).await?;
        let attachment = (!found.is_empty()).then(|| parse_attachment(room, &found)).flatten();
        Ok(Found { attachment, rules_version })
    }

    async fn note_detached(&self, room: &RoomId) -> Result<(), StoreError> {
        self.due_in(room, Value::from(0)).await
    }

    async fn due_room(&self, claim: Duration) -> Result<Option<RoomId>, StoreError> {
        let args = vec![millis(claim).into()];
        let room: Option<String> = self.run(&self.scripts.due_room, vec![ROOMS.to_owned()], args).await?;
        Ok(room.as_deref().and_then(RoomId::parse))
    }

    async fn detached(&self, room: &RoomId, gone: &[String]) -> Result<Vec<String>, StoreError> {
        let mut keys = room_keys(room);
        keys.extend(attachment_keys(room));
        let mut args = self.room_args(room);
        args.push(DETACHED_BATCH.into());
        args.extend(gone.iter().map(|id| id.as_str().into()));
        self.run(&self.scripts.detached, keys, args).await
    }

    async fn looked_through(&self, room: &RoomId, after: Duration) -> Result<(), StoreError> {
        if self.has_attachments(room).await? {
            return self.due_in(room, millis(after).into()).await;
        }
        let _: i64 = self.client.zrem(ROOMS, room.as_str()).await.map_err(|error| translate(&error))?;
        // Something may have been brought meanwhile.
        if self.has_attachments(room).await? { self.note_detached(room).await } else { Ok(()) }
    }
}

impl RedisStore {
    /// The room is due after so many milliseconds.
    async fn due_in(&self, room: &RoomId, millis: Value) -> Result<(), StoreError> {
        let args = vec![room.as_str().into(), millis];
        let _: i64 = self.run_acknowledged(&self.scripts.due_in, vec![ROOMS.to_owned()], args).await?;
        Ok(())
    }

    async fn has_attachments(&self, room: &RoomId) -> Result<bool, StoreError> {
        self.connected()?;
        let [what, _, _, detached] = attachment_keys(room);
        let kept: u64 = self.client.hlen(what).await.map_err(|error| translate(&error))?;
        let detached: u64 = self.client.scard(detached).await.map_err(|error| translate(&error))?;
        Ok(kept + detached > 0)
    }
}

/// The keys of the scripts about attachments, after those of the room: what they are, which are not sent, which are of
/// messages, which are detached.
pub(super) fn attachment_keys(room: &RoomId) -> [String; 4] {
    ["attachments", "attachments:unsent", "attachments:sent", "attachments:detached"]
        .map(|part| format!("chat:{{{room}}}:{part}"))
}

fn parse_attachment(room: &RoomId, json: &str) -> Option<Attachment> {
    let attachment = serde_json::from_str(json);
    if attachment.is_err() {
        tracing::error!(%room, "a kept attachment cannot be read");
        metrics::counter!("parlor_room_service_unreadable_records_total").increment(1);
    }
    attachment.ok()
}
