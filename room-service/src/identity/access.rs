//! Which rooms somebody may hear, and in which of them speak: what a token's `rooms` says.
//!
//! `["lobby", "ops.*"]` opens those rooms, to hear and to speak in. `{"read": ["news.*"], "write": ["lobby"]}` tells
//! them apart; whoever may speak in a room may hear it. Without `rooms` all are open.

use serde::{Deserialize, Serialize};

use crate::ids::RoomId;

/// What somebody may do in which rooms. By default, everything in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access(Option<Box<Rooms>>);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Rooms {
    read: Vec<Pattern>,
    write: Vec<Pattern>,
}

/// A room's name; or `prefix.*`, which is all rooms whose names begin with `prefix.`; or `*`, which is all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

impl Access {
    /// To hear the rooms of `read`, and to hear and speak in those of `write`.
    pub fn to(read: impl IntoIterator<Item = Pattern>, write: impl IntoIterator<Item = Pattern>) -> Self {
        let (read, write) = (read.into_iter().collect(), write.into_iter().collect());
        Self(Some(Box::new(Rooms { read, write })))
    }

    /// Whether all of it is open, which a token need not say.
    pub(super) fn is_everything(&self) -> bool {
        self.0.is_none()
    }

    /// How many rooms and patterns it names.
    pub(super) fn n_patterns(&self) -> usize {
        self.0.as_ref().map_or(0, |rooms| rooms.read.len() + rooms.write.len())
    }

    /// Whether the room may be joined and heard.
    pub fn may_read(&self, room: &RoomId) -> bool {
        self.may_write(room) || self.0.as_ref().is_none_or(|rooms| opens(&rooms.read, room))
    }

    /// Whether something may be said in the room.
    pub fn may_write(&self, room: &RoomId) -> bool {
        self.0.as_ref().is_none_or(|rooms| opens(&rooms.write, room))
    }
}

fn opens(patterns: &[Pattern], room: &RoomId) -> bool {
    patterns.iter().any(|pattern| pattern.matches(room))
}

impl Pattern {
    fn matches(&self, room: &RoomId) -> bool {
        match self.0.strip_suffix('*') {
            Some(prefix) => room.as_str().starts_with(prefix),
            None => room.as_str() == self.0,
        }
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let name = text.strip_suffix(".*").unwrap_or(&text);
        if text == "*" || RoomId::parse(name).is_some() {
            return Ok(Self(text));
        }
        Err("it is a room's name, or prefix.* for all rooms whose names begin with prefix., or *".to_owned())
    }
}

impl std::str::FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.to_owned().try_into()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0
    }
}

/// A list is what may be both heard and spoken in.
#[derive(Deserialize)]
#[serde(untagged)]
enum Claim {
    Both(Vec<Pattern>),
    Apart(Rooms),
}

impl<'de> Deserialize<'de> for Access {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Claim::deserialize(deserializer)? {
            Claim::Both(write) => Self::to([], write),
            Claim::Apart(rooms) => Self(Some(Box::new(rooms))),
        })
    }
}

impl Serialize for Access {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(claim: &str) -> Option<Access> {
        serde_json::from_str(claim).ok()
    }

    #[test]
    fn a_claim_opens_its_rooms_and_no_others() {
        let cases = [
            (r#"["lobby","ops.*"]"#, "lobby", (true, true)),
            (r#"["lobby","ops.*"]"#, "lobby2", (false, false)),
            (r#"["lobby","ops.*"]"#, "ops.alarms.night", (true, true)),
            (r#"["lobby","ops.*"]"#, "ops", (false, false)),
            (r#"["lobby","ops.*"]"#, "opsx", (false, false)),
            (r#"["*"]"#, "anything", (true, true)),
            ("[]", "lobby", (false, false)),
            ("{}", "lobby", (false, false)),
            (r#"{"read":["news.*"],"write":["lobby"]}"#, "news.world", (true, false)),
            (r#"{"read":["news.*"],"write":["lobby"]}"#, "lobby", (true, true)),
            (r#"{"read":["*"]}"#, "lobby", (true, false)),
        ];
        for (claim, room, expected) in cases {
            let (access, room) = (access(claim).expect(claim), RoomId::parse(room).unwrap());
            assert_eq!((access.may_read(&room), access.may_write(&room)), expected, "{claim} {room}");
            let kept = serde_json::to_string(&access).unwrap();
            assert_eq!(serde_json::from_str::<Access>(&kept).unwrap(), access, "{kept}");
        }
        let lobby = RoomId::parse("lobby").unwrap();
        assert!(Access::default().may_read(&lobby) && Access::default().may_write(&lobby));
    }

    #[test]
    fn a_claim_that_makes_no_sense_opens_nothing() {
        let bad = [
            "null",
            "\"*\"",
            "7",
            r#"["Lobby"]"#,
            r#"["a*"]"#,
            r#"["*.a"]"#,
            r#"[".*.*"]"#,
            r#"[""]"#,
            "[7]",
            r#"{"read":"lobby"}"#,
            r#"{"reed":["lobby"]}"#,
            r#"{"write":["lobby",null]}"#,
        ];
        for claim in bad {
            assert_eq!(access(claim), None, "{claim}");
        }
    }
}
