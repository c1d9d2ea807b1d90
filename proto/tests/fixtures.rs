//! The golden frames in `fixtures/`, which the web client's tests read too: what one side writes, the other reads.
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use proto::chat::v1::{ClientFrame, ServerFrame, client_frame, server_frame};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

#[test]
fn every_golden_client_frame_is_read_and_written_back() {
    let seen = each::<ClientFrame>("client", |frame| format!("{:?}", variant(frame.body.as_ref())));
    assert_eq!(seen.len(), 13, "a fixture for each body: {seen:?}");
}

#[test]
fn every_golden_server_frame_is_read_and_written_back() {
    let seen = each::<ServerFrame>("server", |frame| format!("{:?}", variant(frame.body.as_ref())));
    assert_eq!(seen.len(), 17, "a fixture for each body: {seen:?}");
}

#[test]
fn camel_case_is_understood() {
    let frame: ClientFrame =
        serde_json::from_str(r#"{"id":1,"send":{"room":"lobby","clientId":"c1","text":"hi"}}"#).unwrap();
    let Some(client_frame::Body::Send(send)) = frame.body else { panic!("a send") };
    assert_eq!(send.client_id, "c1");
}

#[test]
fn what_a_newer_writer_adds_is_ignored() {
    let frame: ServerFrame =
        serde_json::from_str(r#"{"mood":1,"left":{"room":"lobby","why":{"deep":[1]}}}"#).unwrap();
    assert!(matches!(frame.body, Some(server_frame::Body::Left(left)) if left.room == "lobby"));
    let frame: ServerFrame = serde_json::from_str(r#"{"dance":{"room":"lobby"}}"#).unwrap();
    assert_eq!(frame.body, None);
}

#[test]
fn what_is_not_a_frame_is_refused() {
    for text in [
        "",
        "{",
        "[]",
        "1",
        "null x",
        r#"{"id":-1}"#,
        r#"{"id":4294967296}"#,
        r#"{"id":"x"}"#,
        r#"{"join":7}"#,
        r#"{"join":{"room":7}}"#,
        r#"{"join":{"room":"a","room":"b"}}"#,
        r#"{"send":{"text":"\ud800"}}"#,
        r#"{"join":{"since":{"seq":1.5}}}"#,
        r#"{"join":{},"leave":{}}"#,
    ] {
        assert!(serde_json::from_str::<ClientFrame>(text).is_err(), "{text}");
    }
}

/// Reads and writes back each file of a folder, and returns the distinct names that `name` gives the frames.
fn each<Frame: DeserializeOwned + Serialize>(
    folder: &str,
    name: impl Fn(&Frame) -> String,
) -> std::collections::BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(folder);
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let frame: Frame =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let golden: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(serde_json::to_value(&frame).unwrap(), golden, "{}", path.display());
            name(&frame)
        })
        .collect()
}

/// Which body it is, whatever it holds.
fn variant<Body>(body: Option<&Body>) -> std::mem::Discriminant<Body> {
    std::mem::discriminant(body.expect("a fixture has a body"))
}
