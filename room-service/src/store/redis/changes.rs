//! Changes of messages, in Redis: one script for those of members and of operators.

use proto::{
    Timestamp,
    chat::v1::{Message, MessageRef},
};

use super::{RedisStore, answer_key, attachment_keys, bans_key, millis, parse_message, room_keys};
use crate::{
    ids::{RoomId, draw},
    store::{Appended, Change, MAX_KINDS, MAX_REACTIONS, REPEAT_WINDOW, StoreError},
};

/// What the script did.
pub(super) struct Outcome {
    pub(super) change: Appended,
    /// The message with the change in it. Empty, if this was answered before.
    pub(super) message: Message,
    pub(super) detached: Vec<String>,
}

/// Epoch, seq, id and moment of the change, whether it was answered before, the message, ids of attachments.
type Reply = (String, u32, String, i64, u8, String, Vec<String>);

impl RedisStore {
    /// Changes `message` by what `fields` say: those of `change`, or an operator's.
    pub(super) async fn run_change(
        &self,
        room: &RoomId,
        message: &MessageRef,
        fields: String,
        change: Option<&Change>,
    ) -> Result<Outcome, StoreError> {
        let mut keys = room_keys(room);
        if let Some(change) = change {
            keys.push(answer_key(room, &change.member.id, &change.client_id));
            keys.push(bans_key(room));
        }
        keys.extend(attachment_keys(room));
        let mut args = self.room_args(room);
        args.extend([
            room.as_str().into(),
            message.seq.into(),
            message.id.as_str().into(),
            draw("").into(),
            fields.into(),
            self.history_max.into(),
            millis(REPEAT_WINDOW).into(),
            change.map_or("", |change| change.member.id.as_str()).into(),
            i64::try_from(MAX_KINDS).expect("it is small").into(),
            i64::try_from(MAX_REACTIONS).expect("it is small").into(),
        ]);
        let (epoch, seq, id, at, repeated, folded, detached): Reply =
            self.run_acknowledged(&self.scripts.change, keys, args).await?;
        let message = if folded.is_empty() {
            Message::default()
        } else {
            parse_message(room, &epoch, &message.seq.to_string(), &folded)
        };
        let change =
            Appended { epoch, seq, id, sent_at: Timestamp::from_millis(at), repeated: repeated == 1 };
        Ok(Outcome { change, message, detached })
    }
}
