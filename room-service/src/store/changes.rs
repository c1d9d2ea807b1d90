//! What the store keeps of changes of messages: edits, deletions by their authors, reactions. How a change is folded into
//! the message that it names is the vocabulary's (`Message::apply`); an operator's deletion is asked for by
//! [`OperatorStore`](super::OperatorStore), and is the same change with nobody in it.

use std::sync::Arc;

use proto::chat::v1::{Member, Message, MessageRef, Reaction};

use super::Appended;
use crate::ids::RoomId;

/// How many kinds of reactions a message bears: more than anybody reads.
pub const MAX_KINDS: usize = 20;
/// How many reactions a message bears, by whomever: it is told whole to everyone who comes.
pub const MAX_REACTIONS: usize = 200;

/// A change that has no number yet.
#[derive(Clone, Debug)]
pub struct Change {
    /// Where the message was said.
    pub room: RoomId,
    /// Who changes it.
    pub member: Arc<Member>,
    /// What its sender calls it.
    pub client_id: String,
    /// Which message. An empty id is any.
    pub message: MessageRef,
    /// What is done to it.
    pub kind: ChangeKind,
}

/// What is done to a message.
#[derive(Clone, Debug)]
pub enum ChangeKind {
    /// It says something else, and speaks to others.
    Edit {
        /// What it says.
        text: String,
        /// To whom it speaks, by member id.
        mentions: Vec<String>,
    },
    /// Its place is left.
    Delete,
    /// A reaction is put to it, or taken back.
    React {
        /// Which.
        emoji: String,
        /// Taken back.
        removed: bool,
    },
}

/// What a change did.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// The change's own number.
    pub change: Appended,
    /// The ids of attachments that were the message's, and are nobody's any more.
    pub detached: Vec<String>,
}

/// Why nothing was done to, or said about, the message that was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongMessage {
    /// There is no such message.
    #[error("message: the room has no message with this seq and id, or not any more.")]
    Gone,
    /// It was deleted.
    #[error("message: it was deleted.")]
    Deleted,
    /// Somebody else said it.
    #[error("message: it is another member's.")]
    Anothers,
    /// It bears as many reactions as it may.
    #[error("emoji: a message bears at most {MAX_KINDS} kinds of reactions, and {MAX_REACTIONS} of all.")]
    Full,
    /// There is no such message to answer.
    #[error("reply_to: the room has no message with this seq and id, or not any more.")]
    Unanswerable,
}

impl Change {
    /// The room's next message, but for what only the store knows.
    pub(super) fn to_message(&self) -> Message {
        let message = Message {
            room: self.room.to_string(),
            client_id: self.client_id.clone(),
            member: Some(Member::clone(&self.member)),
            ..Message::default()
        };
        let seq = self.message.seq;
        match &self.kind {
            ChangeKind::Edit { text, mentions } => {
                Message { edits: seq, text: text.clone(), mentions: mentions.clone(), ..message }
            }
            ChangeKind::Delete => Message { deletes: seq, ..message },
            ChangeKind::React { emoji, removed } => {
                let reaction = Reaction { seq, emoji: emoji.clone(), removed: *removed };
                Message { reaction: Some(reaction), ..message }
            }
        }
    }

    /// Whether it may be done to `message`.
    pub(super) fn check(&self, message: &Message) -> Result<(), WrongMessage> {
        let is_theirs = message.member.as_ref().is_some_and(|author| author.id == self.member.id);
        match &self.kind {
            ChangeKind::Edit { .. } | ChangeKind::Delete if !is_theirs => Err(WrongMessage::Anothers),
            ChangeKind::Edit { .. } | ChangeKind::React { .. } if message.deleted => {
                Err(WrongMessage::Deleted)
            }
            ChangeKind::React { emoji, removed: false } if is_full(message, emoji, &self.member.id) => {
                Err(WrongMessage::Full)
            }
            _ => Ok(()),
        }
    }
}

/// Whether one more reaction is one too many.
fn is_full(message: &Message, emoji: &str, member: &str) -> bool {
    let all: usize = message.reactions.iter().map(|kind| kind.members.len()).sum();
    match message.reactions.iter().find(|kind| kind.emoji == emoji) {
        Some(kind) if kind.members.iter().any(|other| other == member) => false,
        Some(_) => all >= MAX_REACTIONS,
        None => all >= MAX_REACTIONS || message.reactions.len() >= MAX_KINDS,
    }
}
