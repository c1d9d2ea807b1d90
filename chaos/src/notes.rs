//! What a member notes down: what they said and had acknowledged, what they heard, when. The checker reads nothing
//! else, so nothing is judged while it happens.

use std::collections::{BTreeMap, BTreeSet};

use proto::chat::v1::{Joined, Message, Position};
use tokio::time::Instant;

/// All that one member said and heard in one room.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    /// The member's id, after the first hello.
    pub(crate) id: String,
    /// In the room from the first `joined` to the end of the round. Others may leave, and may miss things.
    pub(crate) steady: bool,
    /// By client id.
    pub(crate) said: BTreeMap<String, Said>,
    pub(crate) heard: Vec<(Instant, Heard)>,
    /// Who the member believes is in the room.
    pub(crate) roster: BTreeSet<String>,
    /// Refusals that no client could do anything about, by code.
    pub(crate) refused: Vec<String>,
    /// Refusals that said: try again.
    pub(crate) postponed: u32,
}

/// A send and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) first_at: Instant,
    /// When each acknowledgement came and what it said. They have to agree.
    pub(crate) acked: Vec<(Instant, Place)>,
}

/// A place in a room's history, and the message there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) epoch: String,
    pub(crate) seq: u32,
    pub(crate) id: String,
}

/// A message, as far as it is judged: where it stands, and whose send it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) place: Place,
    pub(crate) member: String,
    pub(crate) client_id: String,
}

/// What came over a connection. Connections are numbered, since one may tell again what another told before.
#[derive(Clone, Debug)]
pub(crate) enum Heard {
    /// The reply to a join, or (`afresh`) the word that the room's numbers mean nothing any more.
    Joined {
        connection: u32,
        afresh: bool,
        resumed: bool,
        head: u32,
        told: Vec<Told>,
        roster: Vec<String>,
    },
    Message {
        connection: u32,
        told: Told,
    },
    Presence {
        left: Vec<String>,
    },
    /// The connection ended though the member did not want it to.
    Lost {
        how: String,
    },
}

impl Notes {
    pub(crate) fn note(&mut self, heard: Heard) {
        self.heard.push((Instant::now(), heard));
    }

    /// The number of the newest message that came.
    pub(crate) fn newest(&self) -> Option<u32> {
        self.heard.iter().rev().find_map(|(_, heard)| match heard {
            Heard::Message { told, .. } => Some(told.place.seq),
            Heard::Joined { head, told, .. } => Some(told.last().map_or(*head, |told| told.place.seq)),
            Heard::Presence { .. } | Heard::Lost { .. } => None,
        })
    }

    pub(crate) fn joined(&mut self, connection: u32, afresh: bool, joined: &Joined) {
        let roster: Vec<String> = joined.members.iter().map(|member| member.id.clone()).collect();
        self.roster = roster.iter().cloned().collect();
        let told = joined.messages.iter().map(Told::from).collect();
        let (resumed, head) = (joined.resumed, joined.head);
        self.note(Heard::Joined { connection, afresh, resumed, head, told, roster });
    }
}

impl From<&Message> for Told {
    fn from(message: &Message) -> Self {
        Self {
            place: Place { epoch: message.epoch.clone(), seq: message.seq, id: message.id.clone() },
            member: message.member.as_ref().map(|member| member.id.clone()).unwrap_or_default(),
            client_id: message.client_id.clone(),
        }
    }
}

impl From<&Place> for Position {
    fn from(place: &Place) -> Self {
        Self { epoch: place.epoch.clone(), seq: place.seq, id: place.id.clone() }
    }
}
