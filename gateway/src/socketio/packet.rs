//! The packets of Socket.IO, as texts: those few that this door reads and writes.
//!
//! A text is `<kind>[<attachments>-][<namespace>,][<ack>]<JSON>`. Clients 2.x and 4.x differ in two of ours: the answer
//! to a connect, and a refusal. What carries the texts is Engine.IO, which is the library's.

use serde::Serialize;
use serde_json::{Value, json};

/// The namespace that everybody talks in.
pub(super) const ROOT: &str = "/";
/// The longest name of another, in bytes. Whoever asks for one gets it back with the refusal.
const MAX_NAMESPACE: usize = 64;

/// Which of the two dialects a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Clients 1.x and 2.x, by Engine.IO 3. They are connected to the root without asking.
    Two,
    /// Clients 3.x and 4.x, by Engine.IO 4.
    Four,
}

/// What a client may say.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Packet {
    /// It wants to talk in a namespace.
    Connect(String),
    /// It has done.
    Disconnect,
    /// It said something in the root.
    Event(Event),
    /// What this door has no use for.
    Other,
}

/// An event as a client emitted it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Event {
    /// Its name.
    pub(super) name: String,
    /// Its first argument, if that is a text.
    pub(super) text: Option<String>,
    /// Under which number it wants to be answered.
    pub(super) ack: Option<u64>,
}

/// A text that is no packet.
#[derive(Debug, thiserror::Error)]
#[error("that is no packet of Socket.IO")]
pub(super) struct Garbage;

impl Packet {
    /// Reads a packet. One with attachments, which come apart from it, holds placeholders for them.
    pub(super) fn read(text: &str) -> Result<Self, Garbage> {
        let kind = text.chars().next().filter(|kind| ('0'..='6').contains(kind)).ok_or(Garbage)?;
        let mut rest = &text[1..];
        if matches!(kind, '5' | '6') {
            rest = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
            rest = rest.strip_prefix('-').ok_or(Garbage)?;
        }
        let mut namespace = ROOT;
        if rest.starts_with('/') {
            (namespace, rest) = rest.split_once(',').unwrap_or((rest, ""));
            if namespace.len() > MAX_NAMESPACE {
                return Err(Garbage);
            }
        }
        match kind {
            '0' => Ok(Self::Connect(namespace.to_owned())),
            '1' if namespace == ROOT => Ok(Self::Disconnect),
            '2' | '5' if namespace == ROOT => Event::read(rest).map(Self::Event),
            _ => Ok(Self::Other),
        }
    }
}

impl Event {
    fn read(text: &str) -> Result<Self, Garbage> {
        let json = text.trim_start_matches(|digit: char| digit.is_ascii_digit());
        let ack = &text[..text.len() - json.len()];
        let ack = if ack.is_empty() { None } else { Some(ack.parse().map_err(|_| Garbage)?) };
        let mut items = serde_json::from_str::<Vec<Value>>(json).map_err(|_| Garbage)?.into_iter();
        let Some(Value::String(name)) = items.next() else { return Err(Garbage) };
        let text = items.next().and_then(|argument| match argument {
            Value::String(text) => Some(text),
            _ => None,
        });
        Ok(Self { name, text, ack })
    }
}

/// Tells a client that it is connected to the root, as `sid`.
pub(super) fn connected(dialect: Dialect, sid: &str) -> String {
    match dialect {
        Dialect::Two => "0".to_owned(),
        Dialect::Four => format!("0{}", json!({ "sid": sid })),
    }
}

/// Tells a client that it is not connected to `namespace`, and why.
pub(super) fn refused(dialect: Dialect, namespace: &str, why: &str) -> String {
    let why = match dialect {
        Dialect::Two => json!(why),
        Dialect::Four => json!({ "message": why }),
    };
    if namespace == ROOT { format!("4{why}") } else { format!("4{namespace},{why}") }
}

/// An event with one argument. Nothing if that has no JSON form.
pub(super) fn event(name: &str, argument: &impl Serialize) -> Option<String> {
    Some(format!("2{}", serde_json::to_string(&(name, argument)).ok()?))
}

/// The answer to an event that asked for one. Nothing if it has no JSON form.
pub(super) fn ack(ack: u64, argument: &impl Serialize) -> Option<String> {
    Some(format!("3{ack}{}", serde_json::to_string(&[argument]).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event_of(text: &str) -> Event {
        match Packet::read(text) {
            Ok(Packet::Event(event)) => event,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn an_event_is_read_with_its_first_argument_and_its_ack() {
        for (text, said, ack) in [
            (r#"2["send","hi"]"#, Some("hi"), None),
            (r#"212["send","hi"]"#, Some("hi"), Some(12)),
            (r#"20["send","hi",7]"#, Some("hi"), Some(0)),
            (r#"2["send"]"#, None, None),
            (r#"2["send",null,"hi"]"#, None, None),
            (r#"2/,3["send","hi"]"#, Some("hi"), Some(3)),
            (r#"51-4["send",{"_placeholder":true,"num":0}]"#, None, Some(4)),
        ] {
            let event = Event { name: "send".into(), text: said.map(str::to_owned), ack };
            assert_eq!(event_of(text), event, "{text}");
        }
    }

    #[test]
    fn a_connect_names_its_namespace() {
        for (text, namespace) in [
            ("0", "/"),
            (r#"0{"token":"x"}"#, "/"),
            ("0/admin", "/admin"),
            ("0/admin?a=1,", "/admin?a=1"),
            (r#"0/admin,{"token":"x"}"#, "/admin"),
        ] {
            assert_eq!(Packet::read(text).unwrap(), Packet::Connect(namespace.into()), "{text}");
        }
    }

    #[test]
    fn what_belongs_to_another_namespace_or_to_nobody_is_let_pass() {
        for text in [r#"2/admin,["send","hi"]"#, "1/admin,", "30[1]", r#"4"why""#, "61-0[]", "3"] {
            assert_eq!(Packet::read(text).unwrap(), Packet::Other, "{text}");
        }
        assert_eq!(Packet::read("1").unwrap(), Packet::Disconnect);
    }

    #[test]
    fn garbage_is_told_from_packets_and_harms_nobody() {
        let deep = format!("2{}", "[".repeat(60_000));
        let long = format!("2{}[\"send\"]", "9".repeat(60_000));
        let namespace = format!("0/{},", "a".repeat(64));
        for text in [
            "",
            "7",
            "é",
            "2",
            "2[]",
            "2[1]",
            "2{}",
            "2[\"send\"",
            "5",
            "5x",
            "5-",
            "2é",
            "21é[]",
            &deep,
            &long,
            &namespace,
        ] {
            assert!(Packet::read(text).is_err(), "{:?}", &text[..text.floor_char_boundary(20)]);
        }
        // Every text that lacks the end of a good one, and every one with a foreign letter in it.
        let good = "51-/é,12[\"send\",\"ü\u{2028}\"]";
        for at in (0..=good.len()).filter(|at| good.is_char_boundary(*at)) {
            let _ = Packet::read(&good[..at]);
            let _ = Packet::read(&format!("{}\u{1f980}{}", &good[..at], &good[at..]));
        }
    }

    #[test]
    fn what_we_say_is_written_as_each_dialect_has_it() {
        assert_eq!(connected(Dialect::Two, "s"), "0");
        assert_eq!(connected(Dialect::Four, "s"), r#"0{"sid":"s"}"#);
        assert_eq!(refused(Dialect::Two, "/", "no"), r#"4"no""#);
        assert_eq!(refused(Dialect::Two, "/admin", "no"), r#"4/admin,"no""#);
        assert_eq!(refused(Dialect::Four, "/admin", "no"), r#"4/admin,{"message":"no"}"#);
        assert_eq!(
            event("messages", &json!({ "message": "hi" })).unwrap(),
            r#"2["messages",{"message":"hi"}]"#
        );
        assert_eq!(ack(7, &json!({ "sent": {} })).unwrap(), r#"37[{"sent":{}}]"#);
    }
}
