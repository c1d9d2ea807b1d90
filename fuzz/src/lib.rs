//! What strangers send, and what lies in Redis, fed to what reads it: a target is a function that panics when something
//! is wrong. `tests/corpora.rs` feeds each the inputs in `corpus/` and mutations of them in every `make test`; with a
//! nightly compiler libFuzzer does so for as long as one likes (`targets/`).
//!
//! A panic while reading is a fault, and so is what a target says in its own words.

use std::{fmt::Debug, time::Duration};

use bytes::Bytes;
use gateway::{files::content, frame::Encoding};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use proto::chat::v1::{Member, Message};
use room_service::{identity::Tokens, ids::RoomId, store::Published};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Panics if what it is fed breaks something.
pub type Target = fn(&[u8]);

/// Every target, by the name of its folder in `corpus/`.
pub const TARGETS: [(&str, Target); 6] = [
    ("client_json", client_json),
    ("client_protobuf", client_protobuf),
    ("stored_record", stored_record),
    ("token", token),
    ("room_name", room_name),
    ("file", file),
];

/// A text frame of a browser.
pub fn client_json(bytes: &[u8]) {
    client_frame(Encoding::Json, bytes);
}

/// A binary frame of a browser.
pub fn client_protobuf(bytes: &[u8]) {
    client_frame(Encoding::Protobuf, bytes);
}

/// What was read says the same when it is written again, in either encoding; what was not is answered in both.
fn client_frame(encoding: Encoding, bytes: &[u8]) {
    let frame = match encoding.decode(&Bytes::copy_from_slice(bytes)) {
        Ok(frame) => frame,
        Err(unreadable) => {
            let answer = unreadable.answer();
            for encoding in [Encoding::Json, Encoding::Protobuf] {
                assert!(encoding.encode(&answer).is_some(), "an answer that cannot be written: {answer:?}");
            }
            return;
        }
    };
    assert!(frame.body.is_some(), "a frame that asks for nothing");
    let json = serde_json::to_vec(&frame).expect("a frame has a JSON form");
    assert_eq!(Encoding::Json.decode(&json.into()), Ok(frame.clone()), "by JSON it is another one");
    let protobuf = prost::Message::encode_to_vec(&frame);
    assert_eq!(Encoding::Protobuf.decode(&protobuf.into()), Ok(frame), "by protobuf it is another one");
}

/// What a room service reads from Redis: a message, a member, an event.
pub fn stored_record(bytes: &[u8]) {
    stays_itself::<Message>(bytes);
    stays_itself::<Member>(bytes);
    stays_itself::<Published>(bytes);
}

fn stays_itself<Record: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(record) = serde_json::from_slice::<Record>(bytes) else { return };
    let json = serde_json::to_vec(&record).expect("what was read can be written");
    let again = serde_json::from_slice::<Record>(&json).expect("what was written can be read");
    assert_eq!(record, again, "written and read it is another one");
}

/// A token of a stranger: the input as it is; and, signed as one of ours, what it says.
pub fn token(bytes: &[u8]) {
    const SECRET: &str = "a secret of the fuzzer";
    let tokens = Tokens::new(SECRET, Duration::from_hours(1));
    if let Ok(text) = str::from_utf8(bytes) {
        assert!(
            tokens.read(text).is_err() && tokens.read_welcomed(text).is_err(),
            "a forged token was taken"
        );
    }
    let Ok(claims) = serde_json::from_slice::<Value>(bytes) else { return };
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let header = Header { typ: Some(Tokens::TYPE.to_owned()), ..Header::new(Algorithm::HS256) };
    let Ok(token) = jsonwebtoken::encode(&header, &claims, &key) else { return };
    if let Ok(identity) = tokens.read(&token) {
        assert!(
            tokens.read_welcomed(&token).is_ok(),
            "it is good for a hello and not for the session after it"
        );
        let again = tokens.read(&tokens.sign(&identity));
        assert_eq!(
            again.map(|again| again.member),
            Ok(identity.member),
            "signed again it is somebody else's"
        );
    }
}

/// A room's name: what is taken fits a URL and a Redis key as it is.
pub fn room_name(bytes: &[u8]) {
    let Ok(name) = str::from_utf8(bytes) else { return };
    let fits = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || "._-".contains(char);
    let good = (1..=64).contains(&name.len()) && name.chars().all(fits);
    let room = RoomId::parse(name);
    assert_eq!(room.is_some(), good, "{name:?}");
    assert!(
        room.is_none_or(|room| room.as_str() == name && room.to_string() == name),
        "{name:?} became another"
    );
}

/// A file to be attached: what was looked into and kept is kept as it is when it is looked into again, so nothing that
/// is to be removed is left in it.
pub fn file(bytes: &[u8]) {
    let Ok(kept) = content::look(Bytes::copy_from_slice(bytes)) else { return };
    if content::is_shown(kept.kind) {
        assert!(kept.width > 0 && kept.height > 0, "a picture without a size");
        assert_eq!(content::look(kept.bytes.clone()), Ok(kept), "cleaned again it is another picture");
    } else {
        assert_eq!(
            (kept.width, kept.height, &kept.bytes[..]),
            (0, 0, bytes),
            "a file that is no picture was changed"
        );
    }
}
