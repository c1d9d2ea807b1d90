//! The five events of the 2017 sample, made from frames: what one old client is told.
//!
//! | event | argument | when |
//! |---|---|---|
//! | `member_history` | an object: socket → member | it came in; the roster began anew |
//! | `message_history` | a list of messages, oldest first | it came in |
//! | `member_add` | a member | somebody came |
//! | `member_delete` | a socket | somebody went |
//! | `messages` | a message | somebody said something |
//!
//! An old client knows *sockets* and no members. For itself the socket is its own, so that it finds itself; for
//! everybody else it is the member's id, which two tabs share. No frame makes it hear a message twice.

use std::{collections::BTreeMap, iter};

use proto::{
    Timestamp,
    chat::v1::{Joined, Member, Message, server_frame::Body},
};
use serde::Serialize;

use super::packet;

/// What one client is told.
#[derive(Debug)]
pub(super) struct Telling {
    /// Its own socket.
    socket: String,
    /// Who it is.
    member_id: String,
    /// What goes before the path of a picture.
    pictures: String,
    /// The last message that it was told.
    last: Option<Place>,
}

/// Where a message stands among others.
#[derive(Debug)]
struct Place {
    epoch: String,
    seq: u32,
    sent_at: Option<Timestamp>,
}

impl Place {
    fn of(message: &Message) -> Self {
        Self { epoch: message.epoch.clone(), seq: message.seq, sent_at: message.sent_at }
    }

    /// Whether `message` was said later. Where the numbers began anew, clocks have to tell.
    fn is_before(&self, message: &Message) -> bool {
        if message.epoch == self.epoch { message.seq > self.seq } else { message.sent_at > self.sent_at }
    }
}

#[derive(Serialize)]
struct OldMember<'a> {
    socket: &'a str,
    username: &'a str,
    avatar: String,
}

#[derive(Serialize)]
struct OldMessage<'a> {
    date: String,
    username: &'a str,
    avatar: String,
    message: &'a str,
}

impl Telling {
    /// For the client with this `socket`, who is the member `member_id`. `pictures` goes before the paths of pictures.
    pub(super) fn new(socket: String, member_id: String, pictures: String) -> Self {
        Self { socket, member_id, pictures, last: None }
    }

    /// What a client that has just joined is told.
    pub(super) fn begin(&mut self, joined: &Joined) -> Vec<String> {
        let said = joined.messages.iter().filter(|message| message.changes().is_none());
        let history: Vec<_> = said.map(|message| self.message(message)).collect();
        let history = packet::event("message_history", &history);
        self.last = joined.messages.last().map(Place::of);
        [self.roster(&joined.members), history].into_iter().flatten().collect()
    }

    /// What an event says to the client. Nothing, if it is nothing that the sample knew.
    pub(super) fn tell(&mut self, body: &Body) -> Vec<String> {
        match body {
            Body::Message(message) => {
                self.last = Some(Place::of(message));
                self.said(message).into_iter().collect()
            }
            Body::Presence(presence) => {
                let came =
                    presence.joined.iter().map(|member| packet::event("member_add", &self.member(member)));
                let went = presence.left.iter().map(|id| packet::event("member_delete", &self.socket_of(id)));
                came.chain(went).flatten().collect()
            }
            Body::Joined(joined) => self.begin_afresh(joined),
            _ => Vec::new(),
        }
    }

    /// The room goes on from elsewhere. The roster is told whole, since an old client takes the place of its own by it.
    /// Of the messages it is told those that it does not know; that there was a gap before them, it cannot be told.
    fn begin_afresh(&mut self, joined: &Joined) -> Vec<String> {
        let is_news = |message: &&Message| self.last.as_ref().is_none_or(|last| last.is_before(message));
        let news = joined.messages.iter().filter(is_news);
        let said = news.map(|message| self.said(message));
        let told = iter::once(self.roster(&joined.members)).chain(said).flatten().collect();
        // If none of them is news, this is the same place.
        self.last = joined.messages.last().map(Place::of).or(self.last.take());
        told
    }

    fn roster(&self, members: &[Member]) -> Option<String> {
        let roster: BTreeMap<_, _> =
            members.iter().map(|member| (self.socket_of(&member.id), self.member(member))).collect();
        packet::event("member_history", &roster)
    }

    /// That something was changed an old client cannot be told. Who comes later is told what became of it.
    fn said(&self, message: &Message) -> Option<String> {
        if message.changes().is_some() {
            return None;
        }
        packet::event("messages", &self.message(message))
    }

    fn member<'a>(&'a self, member: &'a Member) -> OldMember<'a> {
        OldMember {
            socket: self.socket_of(&member.id),
            username: &member.name,
            avatar: self.picture(Some(member)),
        }
    }

    fn message<'a>(&self, message: &'a Message) -> OldMessage<'a> {
        OldMessage {
            date: message.sent_at.map(|moment| moment.to_string()).unwrap_or_default(),
            username: message.member.as_ref().map_or("", |member| &member.name),
            avatar: self.picture(message.member.as_ref()),
            message: if message.deleted { "This message was removed." } else { &message.text },
        }
    }

    fn picture(&self, member: Option<&Member>) -> String {
        member.map_or_else(String::new, |member| format!("{}{}", self.pictures, member.avatar))
    }

    fn socket_of<'a>(&'a self, member_id: &'a str) -> &'a str {
        if member_id == self.member_id { &self.socket } else { member_id }
    }
}

#[cfg(test)]
mod tests {
    use proto::chat::v1::{Heartbeat, Presence, Reaction};
    use serde_json::{Value, json};

    use super::*;

    fn telling() -> Telling {
        Telling::new("S1".into(), "m_me".into(), String::new())
    }

    fn member(id: &str) -> Member {
        Member {
            id: id.into(),
            name: format!("Name of {id}"),
            avatar: format!("/avatars/{id}.svg"),
            kind: "guest".into(),
        }
    }

    fn message(epoch: &str, seq: u32) -> Message {
        Message {
            epoch: epoch.into(),
            seq,
            text: format!("word {seq}"),
            sent_at: Some(Timestamp::from_millis(i64::from(seq) * 1000 + 7)),
            member: Some(member("m_ada")),
            ..Message::default()
        }
    }

    fn joined(messages: Vec<Message>) -> Joined {
        Joined { messages, members: vec![member("m_ada"), member("m_me")], ..Joined::default() }
    }

    fn events(told: &[String]) -> Vec<Value> {
        told.iter().map(|text| serde_json::from_str(text.strip_prefix('2').unwrap()).unwrap()).collect()
    }

    #[test]
    fn what_was_deleted_is_told_to_nobody_who_comes_later() {
        let tombstone = Message { text: String::new(), deleted: true, ..message("E", 1) };
        let deletion = Message { text: String::new(), member: None, deletes: 1, ..message("E", 2) };
        let history = &events(&telling().begin(&joined(vec![tombstone, deletion.clone()])))[1][1];
        assert_eq!(history.as_array().unwrap().len(), 1);
        assert_eq!(history[0]["message"], "This message was removed.");
        assert!(telling().tell(&Body::Message(deletion)).is_empty());
    }

    #[test]
    fn what_was_changed_is_told_as_it_is_now_to_who_comes_later() {
        let edit = Message { edits: 1, text: "better".into(), ..message("E", 2) };
        let reaction = Reaction { seq: 1, emoji: "+".into(), removed: false };
        let reaction = Message { reaction: Some(reaction), text: String::new(), ..message("E", 3) };
        let mut said = message("E", 1);
        assert!(said.apply(&edit) && said.apply(&reaction));
        let history = &events(&telling().begin(&joined(vec![said, edit.clone(), reaction.clone()])))[1][1];
        assert_eq!(history.as_array().unwrap().len(), 1);
        assert_eq!(history[0]["message"], "better");
        for change in [edit, reaction] {
            assert!(telling().tell(&Body::Message(change)).is_empty());
        }
    }

    #[test]
    fn who_comes_in_is_told_who_is_there_and_what_was_said() {
        assert_eq!(
            events(&telling().begin(&joined(vec![message("E", 1)]))),
            [
                json!(["member_history", {
                    "m_ada": { "socket": "m_ada", "username": "Name of m_ada", "avatar": "/avatars/m_ada.svg" },
                    "S1": { "socket": "S1", "username": "Name of m_me", "avatar": "/avatars/m_me.svg" },
                }]),
                json!(["message_history", [{
                    "date": "1970-01-01T00:00:01.007Z", "username": "Name of m_ada",
                    "avatar": "/avatars/m_ada.svg", "message": "word 1",
                }]]),
            ]
        );
    }

    #[test]
    fn who_comes_and_goes_is_told_by_one_socket() {
        let presence = |joined, left| Body::Presence(Presence { joined, left, ..Presence::default() });
        let mut telling = telling();
        let came = events(&telling.tell(&presence(vec![member("m_bob"), member("m_me")], vec![])));
        assert_eq!(came[0][0], "member_add");
        assert_eq!([&came[0][1]["socket"], &came[1][1]["socket"]], ["m_bob", "S1"]);
        let went = events(&telling.tell(&presence(vec![], vec!["m_bob".into()])));
        assert_eq!(went, [json!(["member_delete", "m_bob"])]);
    }

    #[test]
    fn a_page_from_elsewhere_is_told_where_the_pictures_are() {
        let mut telling = Telling::new("S1".into(), "m_me".into(), "//chat.example".into());
        let told = events(&telling.tell(&Body::Message(message("E", 1))));
        assert_eq!(told[0][1]["avatar"], "//chat.example/avatars/m_ada.svg");
    }

    #[test]
    fn a_room_that_begins_afresh_tells_only_what_is_new() {
        let mut telling = telling();
        telling.begin(&joined(vec![message("E", 1), message("E", 2)]));
        telling.tell(&Body::Message(message("E", 3)));
        let mut afresh = |epoch: &str, seqs: &[u32]| {
            let page = joined(seqs.iter().map(|seq| message(epoch, *seq)).collect());
            let told = events(&telling.tell(&Body::Joined(page)));
            assert_eq!(told[0][0], "member_history");
            assert_eq!(told[0][1].as_object().unwrap().len(), 2);
            let said = told[1..].iter();
            said.map(|event| format!("{}: {}", event[0], event[1]["message"]).replace('"', ""))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            afresh("E", &[2, 3, 4, 5]),
            ["messages: word 4", "messages: word 5"],
            "in one epoch by its numbers"
        );
        assert_eq!(
            afresh("F", &[4, 5, 6, 7]),
            ["messages: word 6", "messages: word 7"],
            "in another by the time"
        );
        assert_eq!(afresh("F", &[6, 7]), [""; 0]);
        assert_eq!(afresh("F", &[]), [""; 0]);
        assert_eq!(afresh("F", &[7, 8]), ["messages: word 8"]);
    }

    #[test]
    fn what_the_sample_did_not_know_is_not_told() {
        assert!(telling().tell(&Body::Heartbeat(Heartbeat::default())).is_empty());
    }
}
