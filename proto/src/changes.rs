//! How a change of a message is read: the rule that `Message` states in `chat.proto`, for whoever keeps messages.
//!
//! The store's script says the same in Lua (`fold` in `room-service`'s `change.lua`), the web client in TypeScript.

use crate::chat::v1::{Message, Reaction, Reactions};

impl Message {
    /// The seq of the message that this one changes. Nothing: it is no change, but something that was said.
    pub fn changes(&self) -> Option<u32> {
        let reacted = self.reaction.as_ref().map_or(0, |reaction| reaction.seq);
        [self.deletes, self.edits, reacted].into_iter().find(|seq| *seq > 0)
    }

    /// Folds `change` in, if it is a change of this message that is not folded in yet. Whether it was.
    ///
    /// An edit is folded away by the next edit of the same message, and by its deletion.
    pub fn apply(&mut self, change: &Self) -> bool {
        let Some(seq) = change.changes().filter(|_| change.seq > self.changed) else { return false };
        let replaces = change.edits > 0 || change.deletes > 0;
        if seq == self.seq {
            self.fold(change);
        } else if seq == self.edits && self.seq < change.seq && replaces && !self.deleted {
            self.bury();
        } else {
            return false;
        }
        self.changed = change.seq;
        true
    }

    fn fold(&mut self, change: &Self) {
        if change.deletes > 0 {
            self.bury();
        } else if change.edits > 0 && !change.deleted {
            self.text.clone_from(&change.text);
            self.mentions.clone_from(&change.mentions);
            self.edited_at = change.sent_at;
        } else if let (Some(reaction), Some(member)) = (&change.reaction, &change.member) {
            self.react(reaction, &member.id);
        }
    }

    /// Leaves what others stand on: its place, who said it when, and what it answered.
    fn bury(&mut self) {
        self.deleted = true;
        self.text.clear();
        self.mentions.clear();
        self.reactions.clear();
        self.attachments.clear();
        self.edited_at = None;
    }

    fn react(&mut self, reaction: &Reaction, member: &str) {
        let kind = self.reactions.iter().position(|kind| kind.emoji == reaction.emoji);
        match (kind, reaction.removed) {
            (Some(kind), true) => {
                self.reactions[kind].members.retain(|other| other != member);
                if self.reactions[kind].members.is_empty() {
                    self.reactions.remove(kind);
                }
            }
            (Some(kind), false) => {
                let members = &mut self.reactions[kind].members;
                if !members.iter().any(|other| other == member) {
                    members.push(member.to_owned());
                }
            }
            (None, true) => {}
            (None, false) => self
                .reactions
                .push(Reactions { emoji: reaction.emoji.clone(), members: vec![member.to_owned()] }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Timestamp, chat::v1::Member};

    fn said() -> Message {
        Message { seq: 2, text: "hi".into(), mentions: vec!["m_bob".into()], ..Message::default() }
    }

    fn reaction(seq: u32, member: &str, emoji: &str, removed: bool) -> Message {
        Message {
            seq,
            member: Some(Member { id: member.into(), ..Member::default() }),
            reaction: Some(Reaction { seq: 2, emoji: emoji.into(), removed }),
            ..Message::default()
        }
    }

    #[test]
    fn a_change_is_folded_in_once_and_only_where_it_belongs() {
        let at = Some(Timestamp::from_millis(7));
        let edit = Message { seq: 5, edits: 2, text: "ho".into(), sent_at: at, ..Message::default() };
        let mut message = said();
        assert!(!message.apply(&Message { edits: 3, ..edit.clone() }), "another's");
        assert!(!message.apply(&said()), "no change");
        assert!(message.apply(&edit));
        let edited = Message { text: "ho".into(), mentions: vec![], edited_at: at, changed: 5, ..said() };
        assert_eq!(message, edited);
        assert!(!message.apply(&edit));
        assert!(!message.apply(&Message { seq: 4, text: "older".into(), ..edit }));
        assert_eq!(message, edited);
    }

    #[test]
    fn an_edit_is_folded_away_by_what_replaces_it() {
        let edit = |seq, text: &str| Message { seq, edits: 2, text: text.into(), ..Message::default() };
        let mut first = edit(3, "secret");
        assert!(!first.apply(&reaction(4, "m_ada", "+", false)));
        assert!(!first.apply(&Message { edits: 1, ..edit(4, "another's") }));
        assert!(!first.apply(&first.clone()) && !first.apply(&edit(2, "earlier")));
        assert!(first.apply(&edit(5, "better")));
        let gone = Message { deleted: true, changed: 5, ..edit(3, "") };
        assert_eq!(first, gone);
        assert!(!first.apply(&Message { seq: 6, deletes: 2, ..Message::default() }), "once");

        let mut message = said();
        assert!(message.apply(&gone));
        assert_eq!(message, Message { changed: 3, ..said() }, "it changes nothing any more");
        let mut second = edit(5, "better");
        assert!(second.apply(&Message { seq: 6, deletes: 2, ..Message::default() }));
        assert_eq!(second, Message { deleted: true, changed: 6, ..edit(5, "") });
    }

    #[test]
    fn reactions_are_by_kind_and_member_the_first_first() {
        let mut message = said();
        for (n, (member, emoji, removed)) in [
            ("m_ada", "+", false),
            ("m_bob", "!", false),
            ("m_bob", "+", false),
            ("m_bob", "+", false),
            ("m_ada", "?", true),
            ("m_ada", "+", true),
            ("m_cat", "+", true),
            ("m_bob", "!", true),
        ]
        .into_iter()
        .enumerate()
        {
            assert!(message.apply(&reaction(3 + u32::try_from(n).unwrap(), member, emoji, removed)));
        }
        let left = vec![Reactions { emoji: "+".into(), members: vec!["m_bob".into()] }];
        assert_eq!(message, Message { reactions: left, changed: 10, ..said() });
    }

    #[test]
    fn of_a_deleted_message_its_place_is_left() {
        let reply_to = Some(crate::chat::v1::MessageRef { seq: 1, id: "x".into() });
        let mut message = Message { reply_to: reply_to.clone(), ..said() };
        message.apply(&reaction(3, "m_ada", "+", false));
        assert!(message.apply(&Message { seq: 4, deletes: 2, ..Message::default() }));
        assert_eq!(message, Message { seq: 2, deleted: true, changed: 4, reply_to, ..Message::default() });
    }
}
