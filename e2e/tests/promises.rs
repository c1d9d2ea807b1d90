//! The table of promises in ARCHITECTURE.md names tests. A test that was renamed must not leave a promise without one.
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

#[test]
fn every_test_that_holds_a_promise_exists() {
    let house = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = fs::read_to_string(house.join("ARCHITECTURE.md")).unwrap();
    let (_, table) = page.split_once("## Promises").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let named: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| promise"))
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .collect();
    let mut code = String::new();
    for part in ["gateway", "room-service", "e2e"] {
        read(&house.join(part), &mut code);
    }
    let is_test = |name: &str| {
        let places = code.match_indices(&format!("fn {name}(")).map(|(at, _)| at).collect::<Vec<_>>();
        // Alone, by its attribute; or in the list of a suite that is run for several worlds.
        let in_a_list = code.lines().any(|line| line.trim() == name);
        places.iter().any(|at| code[..*at].rsplit("\n\n").next().is_some_and(|head| head.contains("test")))
            || (!places.is_empty() && in_a_list)
    };
    let missing: Vec<_> = named.iter().filter(|name| !is_test(name)).collect();
    let in_chromium: Vec<&str> =
        table.split("in Chromium, *").skip(1).filter_map(|rest| rest.split('*').next()).collect();
    let stories = fs::read_to_string(house.join("web/e2e/chat.spec.ts")).unwrap();
    let untold: Vec<_> =
        in_chromium.iter().filter(|name| !stories.contains(&format!("test('{name}'"))).collect();
    assert!(named.len() > 20 && !in_chromium.is_empty(), "{named:?} {in_chromium:?}");
    assert!(untold.is_empty(), "no such story: {untold:?}");
    assert!(missing.is_empty(), "no such test: {missing:?}");
}

fn read(folder: &Path, code: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, code);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            code.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}
