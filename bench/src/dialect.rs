//! What a client of each server says and hears: as many words as a load needs.

use proto::chat::v1::{ClientFrame, HelloRequest, JoinRequest, SendRequest, client_frame::Body};

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Parlor's JSON frames.
    Parlor,
    /// Socket.IO 4 over Engine.IO 4.
    SocketIo,
}

impl Dialect {
    /// The request that opens a WebSocket.
    pub(crate) fn upgrade(self) -> String {
        let path = match self {
            Self::Parlor => "/ws",
            Self::SocketIo => "/socket.io/?EIO=4&transport=websocket",
        };
        format!(
            "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
    }

    /// The client's first text.
    pub(crate) fn hello(self) -> String {
        match self {
            Self::Parlor => json(1, Body::Hello(HelloRequest::default())),
            Self::SocketIo => "40".to_owned(),
        }
    }

    /// How the answer to hello begins.
    pub(crate) fn welcome(self) -> &'static [u8] {
        match self {
            Self::Parlor => br#"{"id":1,"welcome":"#,
            Self::SocketIo => b"40",
        }
    }

    /// How the client enters a room.
    pub(crate) fn join(self, room: &str) -> String {
        match self {
            Self::Parlor => json(2, Body::Join(JoinRequest { room: room.to_owned(), since: None })),
            Self::SocketIo => format!(r#"420["join","{room}"]"#),
        }
    }

    /// How the answer to a join begins.
    pub(crate) fn joined(self) -> &'static [u8] {
        match self {
            Self::Parlor => br#"{"id":2,"joined":"#,
            Self::SocketIo => b"430[",
        }
    }

    /// How the client says `text`, its `n`th one.
    pub(crate) fn send(self, room: &str, n: u32, text: &str) -> String {
        match self {
            Self::Parlor => {
                let (room, client_id, text) = (room.to_owned(), n.to_string(), text.to_owned());
                json(n.wrapping_add(3), Body::Send(SendRequest::text(room, client_id, text)))
            }
            Self::SocketIo => {
                format!(r#"42["send",{{"room":"{room}","client_id":"{n}","text":"{text}"}}]"#)
            }
        }
    }

    /// How a message begins that is handed on to a reader.
    pub(crate) fn message(self) -> &'static [u8] {
        match self {
            Self::Parlor => br#"{"message":"#,
            Self::SocketIo => br#"42["message","#,
        }
    }

    /// How it begins that somebody came or went.
    pub(crate) fn presence(self) -> &'static [u8] {
        match self {
            Self::Parlor => br#"{"presence":"#,
            Self::SocketIo => br#"42["member_"#,
        }
    }
}

fn json(id: u32, body: Body) -> String {
    serde_json::to_string(&ClientFrame { id, body: Some(body) }).expect("a frame has a JSON form")
}

/// The number that follows `key` in JSON, found without reading the rest. Quotes around it do not matter.
pub(crate) fn number_after(json: &[u8], key: &[u8]) -> Option<u64> {
    let start = memchr::memmem::find(json, key)? + key.len();
    let digits =
        json[start..].iter().skip_while(|byte| **byte == b'"').take_while(|byte| byte.is_ascii_digit());
    digits.fold(None, |number, digit| {
        Some(number.unwrap_or(0_u64).wrapping_mul(10).wrapping_add(u64::from(digit - b'0')))
    })
}

#[cfg(test)]
mod tests {
    use proto::chat::v1::{Message, ServerFrame, server_frame};

    use super::*;

    #[test]
    fn number_and_text_of_a_message_are_found_in_its_json() {
        let message = Message { seq: 41, text: "0000000000000123 hello".into(), ..Message::default() };
        let frame = ServerFrame::event(server_frame::Body::Message(message));
        let json = serde_json::to_vec(&frame).unwrap();
        assert!(json.starts_with(Dialect::Parlor.message()));
        assert_eq!(number_after(&json, br#""seq":"#), Some(41));
        assert_eq!(number_after(&json, br#""text":"#), Some(123));
        assert_eq!(number_after(&json, br#""sequence":"#), None);
        assert_eq!(number_after(&json, br#""message":"#), None);
    }

    #[test]
    fn a_client_says_frames_that_the_proto_knows() {
        let text = Dialect::Parlor.join("lobby");
        let frame: ClientFrame = serde_json::from_str(&text).unwrap();
        assert_eq!(frame.body, Some(Body::Join(JoinRequest { room: "lobby".into(), since: None })));
        let text = Dialect::Parlor.send("lobby", 7, "hi");
        let frame: ClientFrame = serde_json::from_str(&text).unwrap();
        assert!(matches!(frame.body, Some(Body::Send(send)) if send.text == "hi" && send.client_id == "7"));
    }
}
