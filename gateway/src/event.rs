//! Something that a room says to everyone in it, written at most once in each encoding.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use proto::chat::v1::{Position, Presence, ServerFrame, server_frame::Body};

use crate::frame::Encoding;

/// A room's name. Shared, since every session of a room bears it.
pub(crate) type RoomName = Arc<str>;

/// An event on its way to the sessions of a room, which all hold the same one.
#[derive(Debug)]
pub(crate) struct Event {
    room: RoomName,
    frame: ServerFrame,
    before: Option<Arc<Position>>,
    json: OnceLock<Option<Bytes>>,
    protobuf: OnceLock<Option<Bytes>>,
}

impl Event {
    /// `frame`, said in `room` when it stood at `before`.
    pub(crate) fn new(room: RoomName, frame: ServerFrame, before: Arc<Position>) -> Self {
        // Who is typing is worth nothing a moment later, and the next join tells up to where somebody has read.
        // Everything else must reach its reader.
        let before = (!matches!(frame.body, Some(Body::Typing(_) | Body::Read(_)))).then_some(before);
        Self { room, frame, before, json: OnceLock::new(), protobuf: OnceLock::new() }
    }

    /// What was said.
    pub(crate) fn frame(&self) -> &ServerFrame {
        &self.frame
    }

    /// Where it was said.
    pub(crate) fn room(&self) -> &RoomName {
        &self.room
    }

    /// From where a session that did not get this has to be brought up to date. Nothing: it may be forgotten.
    pub(crate) fn before(&self) -> Option<&Arc<Position>> {
        self.before.as_ref()
    }

    /// Who came and who went, if it tells that.
    pub(crate) fn presence(&self) -> Option<&Presence> {
        match &self.frame.body {
            Some(Body::Presence(presence)) => Some(presence),
            _ => None,
        }
    }

    /// Its bytes: the same ones for all sessions. Nothing if it cannot be written.
    pub(crate) fn encoded(&self, encoding: Encoding) -> Option<&Bytes> {
        let cell = match encoding {
            Encoding::Json => &self.json,
            Encoding::Protobuf => &self.protobuf,
        };
        cell.get_or_init(|| encoding.encode(&self.frame)).as_ref()
    }
}

#[cfg(test)]
mod tests {
    use proto::chat::v1::{Message, Typing};

    use super::*;

    #[test]
    fn an_event_is_written_once_in_each_encoding() {
        let message = Message { text: "hi".into(), ..Message::default() };
        let event = Event::new("lobby".into(), ServerFrame::event(Body::Message(message)), Arc::default());
        let text = |encoding| event.encoded(encoding).unwrap().clone();
        assert_eq!(text(Encoding::Json), r#"{"message":{"text":"hi"}}"#);
        assert_eq!(text(Encoding::Json).as_ptr(), text(Encoding::Json).as_ptr());
        assert_eq!(text(Encoding::Protobuf).as_ptr(), text(Encoding::Protobuf).as_ptr());
    }

    #[test]
    fn only_who_is_typing_may_be_forgotten() {
        let event = |body| Event::new("lobby".into(), ServerFrame::event(body), Arc::default());
        assert!(event(Body::Typing(Typing::default())).before().is_none());
        assert!(event(Body::Presence(Presence::default())).before().is_some());
        assert!(event(Body::Message(Message::default())).before().is_some());
    }
}
