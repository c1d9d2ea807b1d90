//! What members have read, in Redis. A position lives in the room's slot, the rooms that a member joined in one of the
//! member's own.

use std::time::Duration;

use async_trait::async_trait;
use fred::interfaces::SortedSetsInterface as _;
use proto::chat::v1::{Read, RoomSummary};

use super::{RedisStore, bans_key, millis, room_keys, to_json, translate};
use crate::{
    ids::RoomId,
    store::{
        StoreError,
        reading::{LOOKED_AT, MAX_UNREAD, ROOMS_KEPT, Reader, ReadingStore},
    },
};

#[async_trait]
impl ReadingStore for RedisStore {
    async fn read_on(&self, room: &RoomId, reader: &Reader, seq: u32) -> Result<Read, StoreError> {
        let mut keys = room_keys(room);
        keys.extend([position_key(room, &reader.member), bans_key(room)]);
        let session = reader.session.as_ref().map_or("", |session| &*session.0);
        let mut args = self.room_args(room);
        args.extend([
            seq.into(),
            reader.member.as_str().into(),
            session.into(),
            millis(reader.keep).into(),
            told(&reader.member, session).into(),
        ]);
        // Whoever has not read it after all reads it again, so it is no safer than the primary makes it.
        let (epoch, seq): (String, u32) = self.run(&self.scripts.read_on, keys, args).await?;
        Ok(Read { room: room.to_string(), epoch, seq })
    }

    async fn note_joined(&self, member: &str, room: &RoomId, keep: Duration) -> Result<(), StoreError> {
        let args = vec![room.as_str().into(), ROOMS_KEPT.into(), millis(keep).into()];
        let _: u8 = self.run(&self.scripts.joined, vec![joined_key(member)], args).await?;
        Ok(())
    }

    async fn joined_lately(&self, member: &str) -> Result<Vec<RoomId>, StoreError> {
        self.connected()?;
        let rooms: Vec<String> = self
            .client
            .zrevrange(joined_key(member), 0, i64::from(ROOMS_KEPT) - 1, false)
            .await
            .map_err(|error| translate(&error))?;
        Ok(rooms.iter().filter_map(|room| RoomId::parse(room)).collect())
    }

    async fn summary(&self, room: &RoomId, member: &str) -> Result<Option<RoomSummary>, StoreError> {
        let mut keys = room_keys(room);
        keys.extend([position_key(room, member), bans_key(room)]);
        let mut args = self.room_args(room);
        args.extend([member.into(), to_json(&member).into(), MAX_UNREAD.into(), LOOKED_AT.into()]);
        let summed: Option<(String, u32, u32, u32, u32, u32)> =
            self.run(&self.scripts.summary, keys, args).await?;
        Ok(summed.map(|(epoch, head, read, unread, mentions, member_count)| RoomSummary {
            room: room.to_string(),
            epoch,
            head,
            read,
            unread,
            mentions,
            member_count,
        }))
    }
}

/// The beginning of what is published: the script adds the numbers.
fn told(member: &str, session: &str) -> String {
    let (member, session) = (to_json(&member), to_json(&session));
    format!(r#"{{"read":{{"member":{member},"session":{session}"#)
}

pub(super) fn position_key(room: &RoomId, member: &str) -> String {
    format!("chat:{{{room}}}:read:{member}")
}

fn joined_key(member: &str) -> String {
    format!("chat:member:{member}:rooms")
}
