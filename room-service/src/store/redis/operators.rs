//! What operators changed, in Redis. A room's rules live in the room's slot, what all room services look at in one of
//! its own.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use fred::types::Value;
use proto::chat::v1::{Message, MessageRef};
use tokio::time::Instant;

use super::{RedisStore, fields, millis, room_keys};
use crate::{
    ids::RoomId,
    store::{
        ACTS_KEPT, Act, Acts, Ban, DISCONNECTION_KEPT, MAX_BANS, MAX_KEPT_OUT, OperatorStore, Rules,
        StoreError,
    },
};

/// Named like what belongs to a room, and no room can be called so: both are in one slot.
const ACTS: &str = "chat:{~operators}:acts";
const KEPT_OUT: &str = "chat:{~operators}:kept-out";

#[async_trait]
impl OperatorStore for RedisStore {
    async fn delete(&self, room: &RoomId, seq: u32, id: &str) -> Result<Option<Message>, StoreError> {
        let named = MessageRef { seq, id: id.to_owned() };
        let deletion = Message { room: room.to_string(), deletes: seq, ..Message::default() };
        match self.run_change(room, &named, fields(&deletion), None).await {
            Ok(outcome) => Ok(Some(outcome.message)),
            Err(StoreError::WrongMessage(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn ban(
        &self,
        room: &RoomId,
        member: &str,
        time: Option<Duration>,
        reason: &str,
    ) -> Result<bool, StoreError> {
        // No time at all would be for ever.
        let time = time.map_or(0, |time| millis(time).max(1));
        self.change_rules(room, ["ban".into(), member.into(), time.into(), reason.into()]).await
    }

    async fn lift_ban(&self, room: &RoomId, member: &str) -> Result<(), StoreError> {
        self.change_rules(room, ["lift".into(), member.into(), 0.into(), "".into()]).await.map(|_| ())
    }

    async fn close(&self, room: &RoomId, reason: &str) -> Result<(), StoreError> {
        self.change_rules(room, ["close".into(), "".into(), 0.into(), reason.into()]).await.map(|_| ())
    }

    async fn open(&self, room: &RoomId) -> Result<(), StoreError> {
        self.change_rules(room, ["open".into(), "".into(), 0.into(), "".into()]).await.map(|_| ())
    }

    async fn rules(&self, room: &RoomId) -> Result<Rules, StoreError> {
        let (keys, args) = self.rules_call(room, ["read".into(), "".into(), 0.into(), "".into()]);
        let (_, version, closed, reason, bans): RulesReply =
            self.run(&self.scripts.rules, keys, args).await?;
        let bans = bans_of(bans, |left| (left > 0).then(|| from_now(left)));
        Ok(Rules { version, closed: (closed == 1).then_some(reason), bans })
    }

    async fn note_act(&self, room: &RoomId) -> Result<(), StoreError> {
        self.act(vec![format!("room {room}").into(), ACTS_KEPT.into(), "note".into()]).await.map(|_| ())
    }

    async fn keep_out(&self, member: &str, time: Duration, reason: &str) -> Result<bool, StoreError> {
        self.act(vec![
            format!("member {member}").into(),
            ACTS_KEPT.into(),
            "out".into(),
            member.into(),
            millis(time).into(),
            reason.into(),
            MAX_KEPT_OUT.into(),
            millis(DISCONNECTION_KEPT).into(),
        ])
        .await
    }

    async fn readmit(&self, member: &str) -> Result<(), StoreError> {
        let what = format!("member {member}");
        self.act(vec![what.into(), ACTS_KEPT.into(), "in".into(), member.into()]).await.map(|_| ())
    }

    async fn acts(&self, since: Option<u64>) -> Result<Acts, StoreError> {
        let since = since.map(|since| since.to_string()).unwrap_or_default();
        let keys = vec![ACTS.to_owned(), KEPT_OUT.to_owned()];
        let (number, new, acts, kept_out): (u64, u8, Vec<String>, Vec<String>) =
            self.run(&self.scripts.acts, keys, vec![since.into()]).await?;
        let kept_out = (new == 1).then(|| bans_of(kept_out, |left| Some(from_now(left))));
        Ok(Acts { number, acts: acts.iter().filter_map(|act| parse_act(act)).collect(), kept_out })
    }
}

/// Whether it was done, version, whether the room is closed, why, and the bans: member, milliseconds left, reason.
type RulesReply = (u8, u64, u8, String, Vec<String>);

impl RedisStore {
    fn rules_call(&self, room: &RoomId, what: [Value; 4]) -> (Vec<String>, Vec<Value>) {
        let mut keys = room_keys(room);
        keys.push(bans_key(room));
        let mut args = self.room_args(room);
        args.extend(what);
        args.push(MAX_BANS.into());
        (keys, args)
    }

    async fn change_rules(&self, room: &RoomId, what: [Value; 4]) -> Result<bool, StoreError> {
        let (keys, args) = self.rules_call(room, what);
        let (done, ..): RulesReply = self.run_acknowledged(&self.scripts.rules, keys, args).await?;
        Ok(done == 1)
    }

    async fn act(&self, args: Vec<Value>) -> Result<bool, StoreError> {
        let keys = vec![ACTS.to_owned(), KEPT_OUT.to_owned()];
        let done: u8 = self.run_acknowledged(&self.scripts.act, keys, args).await?;
        Ok(done == 1)
    }
}

pub(super) fn bans_key(room: &RoomId) -> String {
    format!("chat:{{{room}}}:bans")
}

fn parse_act(act: &str) -> Option<Act> {
    match act.split_once(' ')? {
        ("room", room) => Some(Act::Room(RoomId::parse(room)?)),
        ("member", member) => Some(Act::Member(member.to_owned())),
        _ => None,
    }
}

/// Member, milliseconds and reason, again and again.
fn bans_of(parts: Vec<String>, until: impl Fn(i64) -> Option<Instant>) -> BTreeMap<String, Ban> {
    let mut bans = BTreeMap::new();
    let mut parts = parts.into_iter();
    while let (Some(member), Some(left), Some(reason)) = (parts.next(), parts.next(), parts.next()) {
        bans.insert(member, Ban { until: until(left.parse().unwrap_or_default()), reason });
    }
    bans
}

fn from_now(millis: i64) -> Instant {
    Instant::now() + Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}
