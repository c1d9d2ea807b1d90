//! One frame, between the bytes of a WebSocket and the types of the vocabulary.
//!
//! What a frame does is the room service's; how its bytes travel is `socket.rs`.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, header::SEC_WEBSOCKET_PROTOCOL};
use prost::Message as _;
use proto::chat::v1::{ClientFrame, Error, ServerFrame, server_frame::Body};
use serde::de::{DeserializeOwned, Deserializer as _, IgnoredAny, MapAccess, Visitor};

/// How a session writes its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Text frames of ProtoJSON.
    Json,
    /// Binary frames of protobuf.
    Protobuf,
}

impl Encoding {
    /// The first sub-protocol that the client offers and we know, and its name. Someone who offers none, or only
    /// others, speaks JSON.
    pub(crate) fn agreed(headers: &HeaderMap) -> (Self, Option<&'static str>) {
        let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
        for name in offered.flat_map(|value| value.split(',')) {
            match name.trim() {
                "chat.v1.json" => return (Self::Json, Some("chat.v1.json")),
                "chat.v1.proto" => return (Self::Protobuf, Some("chat.v1.proto")),
                _ => {}
            }
        }
        (Self::Json, None)
    }

    /// Reads what a client sent.
    pub fn decode(self, bytes: &Bytes) -> Result<ClientFrame, Unreadable> {
        let frame = match self {
            Self::Json => decode_json(bytes),
            Self::Protobuf => ClientFrame::decode(bytes.clone())
                .map_err(|error| Unreadable { id: leading_id(bytes), why: error.to_string() }),
        }?;
        if frame.body.is_none() {
            let why = "it has no body: one of hello, join, leave, send, history, members, typing, refresh";
            return Err(Unreadable { id: frame.id, why: why.to_owned() });
        }
        Ok(frame)
    }

    /// Writes what a client is to hear. Nothing if the frame has no form in this encoding, which is our fault or
    /// that of a newer room service, and counted.
    pub fn encode(self, frame: &ServerFrame) -> Option<Bytes> {
        match self {
            Self::Json => match serde_json::to_vec(frame) {
                Ok(json) => Some(json.into()),
                Err(error) => {
                    metrics::counter!("parlor_gateway_unwritable_frames_total").increment(1);
                    tracing::error!(%error, "a frame has no JSON form");
                    None
                }
            },
            Self::Protobuf => Some(frame.encode_to_vec().into()),
        }
    }
}

/// A frame that could not be read.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its id as far as it could be made out, else 0.
    id: u32,
    why: String,
}

impl Unreadable {
    /// What its sender gets. The session stays open.
    pub fn answer(self) -> ServerFrame {
        refusal(self.id, "INVALID", format!("This frame could not be read: {}.", self.why), false)
    }
}

/// The answer to a frame that reached no room service, or whose reply did not come.
pub(crate) fn unavailable(id: u32) -> ServerFrame {
    refusal(id, "UNAVAILABLE", "The chat cannot be reached right now. Please try again in a moment.", true)
}

/// The answer to a frame whose reply cannot be written.
pub(crate) fn internal(id: u32) -> ServerFrame {
    refusal(id, "INTERNAL", "The reply could not be written.", false)
}

/// The answer to a frame that the gateway itself refuses.
pub(crate) fn refusal(id: u32, code: &str, message: impl Into<String>, retryable: bool) -> ServerFrame {
    let error = Error { code: code.to_owned(), message: message.into(), retryable, retry_after_ms: 0 };
    ServerFrame::reply(id, Body::Error(error))
}

fn decode_json(bytes: &Bytes) -> Result<ClientFrame, Unreadable> {
    read_json(bytes).map_err(|why| Unreadable { id: any_id(bytes), why })
}

/// Reads JSON that is all of `bytes`, or says what is wrong with which field.
pub(crate) fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let read = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let field = error.path().to_string();
        // A path of `.` is the whole.
        if field == "." { error.into_inner().to_string() } else { format!("{field}: {}", error.inner()) }
    })?;
    json.end().map_err(|error| error.to_string())?;
    Ok(read)
}

/// The `id` in what may be broken JSON: its sender waits for an answer to it.
fn any_id(bytes: &[u8]) -> u32 {
    struct Id<'a>(&'a mut u32);

    impl<'de> Visitor<'de> for Id<'_> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a frame")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
            while let Some(field) = fields.next_key::<String>()? {
                if field == "id" {
                    *self.0 = fields.next_value()?;
                } else {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
            Ok(())
        }
    }

    let mut id = 0;
    // Where it breaks does not matter: what was found before is kept.
    let _ = serde_json::Deserializer::from_slice(bytes).deserialize_map(Id(&mut id));
    id
}

/// The `id` in what may be broken protobuf, where every writer puts it first.
fn leading_id(bytes: &[u8]) -> u32 {
    const ID_FIELD: u8 = 1 << 3;
    let Some((&ID_FIELD, mut rest)) = bytes.split_first() else { return 0 };
    let id = prost::encoding::decode_varint(&mut rest).ok();
    id.and_then(|id| u32::try_from(id).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proto::chat::v1::{HelloRequest, client_frame};

    use super::*;

    fn why(json: &'static str) -> (u32, String) {
        let Unreadable { id, why } = Encoding::Json.decode(&Bytes::from_static(json.as_bytes())).unwrap_err();
        (id, why)
    }

    #[test]
    fn a_bad_frame_is_answered_by_its_id_and_the_field_at_fault() {
        for (json, id, field) in [
            (r#"{"id":7,"send":{"room":5}}"#, 7, "send.room: "),
            (r#"{"id":7,"join":{"room":"a","since":{"seq":-1}}}"#, 7, "join.since.seq: "),
            (r#"{"id":7,"send":{"text":null}}"#, 7, "send.text: "),
            (r#"{"send":{"room":5},"id":8}"#, 8, "send.room: "),
            (r#"{"id":9,"hello":{},"join":{"room":"a"}}"#, 9, ""),
            (r#"{"id":9}"#, 9, "it has no body"),
            (r#"{"id":9,"dance":{}}"#, 9, "it has no body"),
            (r#"{"id":9,"hello":{}} x"#, 9, "trailing characters"),
            (r#"{"id":9,"hello":{"#, 9, ""),
            (r#"{"id":-1,"hello":{}}"#, 0, "id: "),
            (r#"{"id":4294967296,"hello":{}}"#, 0, "id: "),
            ("[1]", 0, ""),
            ("hello", 0, ""),
            ("", 0, ""),
        ] {
            let (found, why) = why(json);
            assert_eq!(found, id, "{json}: {why}");
            assert!(why.starts_with(field), "{json}: {why}");
        }
    }

    #[test]
    fn depth_and_size_of_numbers_are_bounded() {
        let deep = format!(r#"{{"id":3,"x":{}1{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        let refused = Encoding::Json.decode(&deep.into_bytes().into()).unwrap_err();
        assert_eq!(refused.id, 3);
        assert_eq!(why(r#"{"id":1e999,"hello":{}}"#).0, 0);
    }

    #[test]
    fn unknown_fields_and_camel_case_are_understood() {
        let json = r#"{"id":1,"send":{"room":"a","clientId":"c","text":"hi","mood":"good"},"later":{}}"#;
        let frame = Encoding::Json.decode(&Bytes::from_static(json.as_bytes())).unwrap();
        let Some(client_frame::Body::Send(send)) = frame.body else { panic!("{frame:?}") };
        assert_eq!(send.client_id, "c");
    }

    #[test]
    fn protobuf_is_read_and_broken_protobuf_still_tells_its_id() {
        let hello = client_frame::Body::Hello(HelloRequest::default());
        let whole = ClientFrame { id: 300, body: Some(hello) }.encode_to_vec();
        assert_eq!(Encoding::Protobuf.decode(&whole.clone().into()).unwrap().id, 300);
        let cut = Bytes::from(whole[..whole.len() - 1].to_vec());
        assert_eq!(Encoding::Protobuf.decode(&cut).unwrap_err().id, 300);
        assert_eq!(Encoding::Protobuf.decode(&Bytes::from_static(&[0xff; 40])).unwrap_err().id, 0);
        assert_eq!(Encoding::Protobuf.decode(&Bytes::new()).unwrap_err().id, 0);
    }

    #[test]
    fn the_first_known_sub_protocol_is_agreed_and_json_without_one() {
        for (offered, encoding, named) in [
            (&[][..], Encoding::Json, None),
            (&["soap"][..], Encoding::Json, None),
            (&["\u{e9}"][..], Encoding::Json, None),
            (&["chat.v1.json"][..], Encoding::Json, Some("chat.v1.json")),
            (&["soap, chat.v1.proto", "chat.v1.json"][..], Encoding::Protobuf, Some("chat.v1.proto")),
        ] {
            let mut headers = HeaderMap::new();
            for value in offered {
                headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            assert_eq!(Encoding::agreed(&headers), (encoding, named), "{offered:?}");
        }
    }
}
