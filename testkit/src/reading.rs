//! What someone knows of a room who reads by the rule of `chat.proto`, and by nothing else.

use std::collections::BTreeMap;

use proto::chat::v1::Message;

/// The messages that they were told, each with all changes in it that they were told.
#[derive(Debug, Default)]
pub struct Reading {
    known: BTreeMap<u32, Message>,
}

impl Reading {
    /// Takes a message, of a page or as it was said.
    pub fn take(&mut self, mut message: Message) {
        // Of two pages the older one may come later.
        if self.get(message.seq).is_some_and(|known| known.changed > message.changed) {
            return;
        }
        // A page may come later than changes of what is in it.
        for change in self.known.values() {
            message.apply(change);
        }
        for known in self.known.values_mut() {
            known.apply(&message);
        }
        self.known.insert(message.seq, message);
    }

    /// Takes a page.
    pub fn take_page(&mut self, page: impl IntoIterator<Item = Message>) {
        for message in page {
            self.take(message);
        }
    }

    /// The message of that number, as they know it.
    pub fn get(&self, seq: u32) -> Option<&Message> {
        self.known.get(&seq)
    }

    /// The oldest that they know.
    pub fn oldest(&self) -> Option<&Message> {
        self.known.values().next()
    }

    /// The newest that they know.
    pub fn newest(&self) -> Option<&Message> {
        self.known.values().next_back()
    }
}
