//! What members do to messages that were said: checks it, and hands it to the store. Also what a message may name: others
//! that it answers, and members.
//!
//! What becomes of a message by it is `Message::apply`'s; saying something is `session.rs`.

use std::collections::HashSet;

use proto::chat::v1::{DeleteRequest, EditRequest, MessageRef, ReactRequest, Sent};

use crate::{
    Service,
    identity::Identity,
    ids::{RoomId, is_member_id},
    refusal::Refusal,
    session::{check_client_id, check_may_write, check_text, is_blank},
    store::{Change, ChangeKind, Changed},
};

/// The longest emoji, in bytes: families and flags have over 20.
const MAX_EMOJI: usize = 64;
/// How many members a message may speak to.
const MAX_MENTIONS: usize = 50;

/// What is asked for: an edit, a deletion or a reaction. Nothing of it is checked yet.
pub(crate) struct ChangeRequest {
    pub(crate) room: String,
    client_id: String,
    message: Option<MessageRef>,
    kind: ChangeKind,
}

impl From<EditRequest> for ChangeRequest {
    fn from(edit: EditRequest) -> Self {
        let EditRequest { room, client_id, message, text, mentions } = edit;
        Self { room, client_id, message, kind: ChangeKind::Edit { text, mentions } }
    }
}

impl From<DeleteRequest> for ChangeRequest {
    fn from(deletion: DeleteRequest) -> Self {
        let DeleteRequest { room, client_id, message } = deletion;
        Self { room, client_id, message, kind: ChangeKind::Delete }
    }
}

impl From<ReactRequest> for ChangeRequest {
    fn from(reaction: ReactRequest) -> Self {
        let ReactRequest { room, client_id, message, emoji, remove } = reaction;
        Self { room, client_id, message, kind: ChangeKind::React { emoji, removed: remove } }
    }
}

impl Service {
    /// Checks a change and makes it. It counts for its member as a message does.
    pub(crate) async fn change(
        &self,
        room: RoomId,
        asked: ChangeRequest,
        who: Identity,
    ) -> Result<Sent, Refusal> {
        check_may_write(&room, &who)?;
        self.limits.allow_send(&who.member.id)?;
        let client_id = check_client_id(asked.client_id)?;
        let Some(message) = asked.message else { return Err(unnamed("message")) };
        let message = check_named("message", message)?;
        let (name, kind) = match asked.kind {
            ChangeKind::Edit { text, mentions } => {
                let text = check_text(text, self.settings.max_text_bytes, false)?;
                ("edit", ChangeKind::Edit { text, mentions: check_mentions(mentions)? })
            }
            ChangeKind::Delete => ("delete", ChangeKind::Delete),
            ChangeKind::React { emoji, removed } => {
                ("react", ChangeKind::React { emoji: check_emoji(emoji)?, removed })
            }
        };
        let change = Change { room, member: who.member, client_id, message, kind };
        let Changed { change: done, detached } = self.store.change(&change).await?;
        if let Some(removal) = self.removal.as_ref().filter(|_| !detached.is_empty()) {
            removal.note(&change.room).await;
        }
        let repeated = if done.repeated { "true" } else { "false" };
        metrics::counter!("parlor_room_service_changes_total", "kind" => name, "repeated" => repeated)
            .increment(1);
        let (epoch, seq, id) = (done.epoch, done.seq, done.id);
        Ok(Sent { room: asked.room, epoch, seq, id, sent_at: Some(done.sent_at) })
    }
}

/// A message is named by both of its names: its seq alone might have come to mean another.
pub(crate) fn check_named(field: &str, message: MessageRef) -> Result<MessageRef, Refusal> {
    if message.seq == 0 || message.id.is_empty() { Err(unnamed(field)) } else { Ok(message) }
}

fn unnamed(field: &str) -> Refusal {
    Refusal::Invalid(format!("{field}: name it by its seq and its id."))
}

/// Each member once, the first first.
pub(crate) fn check_mentions(mut mentions: Vec<String>) -> Result<Vec<String>, Refusal> {
    let words = || format!("mentions: at most {MAX_MENTIONS} ids of members.");
    if mentions.len() > MAX_MENTIONS || !mentions.iter().all(|id| is_member_id(id)) {
        return Err(Refusal::Invalid(words()));
    }
    let mut seen = HashSet::new();
    mentions.retain(|id| seen.insert(id.clone()));
    Ok(mentions)
}

fn check_emoji(emoji: String) -> Result<String, Refusal> {
    let fits = (1..=MAX_EMOJI).contains(&emoji.len())
        && !emoji.chars().any(|c| c.is_whitespace() || c.is_control())
        && !is_blank(&emoji);
    let words = || format!("emoji: one emoji, of 1 to {MAX_EMOJI} bytes.");
    if fits { Ok(emoji) } else { Err(Refusal::Invalid(words())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emoji_is_short_and_seen() {
        let family = "\u{1f469}\u{1f3fd}\u{200d}\u{1f469}\u{1f3fd}\u{200d}\u{1f467}\u{1f3fd}\u{200d}\u{1f466}\u{1f3fd}";
        for good in ["\u{1f44d}", family, "\u{2764}\u{fe0f}", "+1", &"x".repeat(64)] {
            assert!(check_emoji(good.into()).is_ok(), "{good}");
        }
        for bad in ["", " ", "a b", "\u{1f44d}\n", "\u{200b}", "\0", "\u{3000}", &"x".repeat(65)] {
            assert!(matches!(check_emoji(bad.into()), Err(Refusal::Invalid(_))), "{bad:?}");
        }
    }

    #[test]
    fn few_are_spoken_to_and_each_once() {
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let kept = check_mentions(ids(&["m_bob", "auth0|\u{e9}", "m_bob", "m_ada"])).unwrap();
        assert_eq!(kept, ids(&["m_bob", "auth0|\u{e9}", "m_ada"]));
        assert!(check_mentions(vec!["m".to_owned(); 50]).is_ok());
        for bad in [vec!["m".to_owned(); 51], ids(&[""]), ids(&["a b"]), ids(&["a\n"])] {
            assert!(matches!(check_mentions(bad.clone()), Err(Refusal::Invalid(_))), "{bad:?}");
        }
    }

    #[test]
    fn a_message_is_named_by_both_names() {
        let named = |seq, id: &str| check_named("message", MessageRef { seq, id: id.to_owned() });
        assert!(named(1, "x").is_ok());
        for bad in [named(0, "x"), named(1, "")] {
            assert!(matches!(bad, Err(Refusal::Invalid(_))));
        }
    }
}
