//! The arrows of the house: which of our crates stands on which, and which keys to the outside each holds. A new arrow
//! is a new line here, drawn on purpose.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, process::Command};

use serde_json::Value;

/// Crate, and the crates of ours that it is built on (its tests may use more).
const ARROWS: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("runtime", &[]),
    ("room-service", &["proto", "runtime"]),
    ("gateway", &["proto", "runtime"]),
    ("parlor", &["gateway", "proto", "room-service", "runtime"]),
    ("testkit", &["proto"]),
    ("e2e", &[]),
    ("chaos", &["proto", "testkit"]),
    ("ping-bot", &[]),
    ("bench", &["proto", "testkit"]),
    ("fuzz", &["gateway", "proto", "room-service"]),
];

/// A library, and the only crates of ours that may know it.
const KEYS: &[(&str, &[&str])] = &[
    ("fred", &["room-service"]),
    ("axum", &["gateway"]),
    ("object_store", &["runtime"]),
    ("opentelemetry", &["runtime"]),
];

#[test]
fn no_crate_stands_on_another_by_accident() {
    let expected: BTreeMap<&str, Vec<&str>> = ARROWS.iter().map(|(name, on)| (*name, on.to_vec())).collect();
    let ours = |dependency: &str| expected.contains_key(dependency);
    let found = dependencies();
    let found: BTreeMap<&str, Vec<&str>> = found
        .iter()
        .map(|(name, on)| (name.as_str(), on.iter().map(String::as_str).filter(|on| ours(on)).collect()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn each_key_is_held_by_one_room() {
    for (library, holders) in KEYS {
        let found = dependencies();
        let found: Vec<&str> = found
            .iter()
            .filter(|(_, on)| on.iter().any(|on| on == library))
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(found, *holders, "{library}");
    }
}

/// What each of our crates is built on, without what only its tests need.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap().iter().map(|package| {
        let normal = package["dependencies"].as_array().unwrap().iter().filter(|on| on["kind"].is_null());
        let mut on: Vec<String> = normal.map(name).collect();
        on.sort_unstable();
        (name(package), on)
    });
    packages.collect()
}
