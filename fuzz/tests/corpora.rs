//! Feeds every target its corpus, and mutations of it that are the same in each run.
//!
//! An input that once broke something is kept in the corpus, so that it is fed for ever.
#![allow(clippy::unwrap_used)]

use std::{fs, panic::catch_unwind, path::Path};

use fuzz::{TARGETS, Target};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// For each input of a corpus. Seconds for all; libFuzzer has the patience for more.
const MUTATIONS: usize = 400;
/// Longer inputs say nothing new.
const MAX_BYTES: usize = 4096;

#[test]
fn nothing_that_is_fed_breaks_what_reads_it() {
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        let mut random = StdRng::seed_from_u64(7);
        for input in &corpus {
            feed(name, target, input);
            for _ in 0..MUTATIONS {
                let mut mutant = input.clone();
                for _ in 0..random.random_range(1..4) {
                    mutate(&mut mutant, &corpus, &mut random);
                }
                mutant.truncate(MAX_BYTES);
                feed(name, target, &mutant);
            }
        }
    }
}

#[test]
fn no_corpus_is_without_a_target() {
    let folders = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")).unwrap();
    let mut folders: Vec<String> =
        folders.map(|folder| folder.unwrap().file_name().into_string().unwrap()).collect();
    folders.sort();
    let mut names = TARGETS.map(|(name, _)| name.to_owned());
    names.sort();
    assert_eq!(folders, names);
}

/// Its inputs, in the order of their names.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 5, "{name} has hardly a corpus");
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn feed(name: &str, target: Target, input: &[u8]) {
    assert!(
        catch_unwind(|| target(input)).is_ok(),
        "{name} is broken by what follows; keep it as a file in fuzz/corpus/{name}: {}",
        input.escape_ascii()
    );
}

/// One change: of a bit, a byte, a piece; or of both ends, with a piece of another input between.
fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut StdRng) {
    /// What readers stumble over.
    const PIECES: [&[u8]; 16] = [
        b"\0",
        b"\xff",
        b"\"",
        b"\\u0000",
        b"\\ud800",
        b"{",
        b"}",
        b"[",
        b"null",
        b"-1",
        b"4294967296",
        b"1e999",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\xe2\x80\xae",
        b"..",
        b"9999-12-31T23:59:60Z",
    ];
    let at = random.random_range(0..=input.len());
    let until = random.random_range(at..=input.len());
    match random.random_range(0..6) {
        0 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
        1 if at < input.len() => input[at] = random.random_range(0..=u8::MAX),
        2 => drop(input.drain(at..until)),
        3 => drop(input.splice(at..until, PIECES[random.random_range(0..PIECES.len())].iter().copied())),
        4 => {
            let piece = input[at..until].to_vec();
            drop(input.splice(at..at, piece));
        }
        _ => {
            let other = &corpus[random.random_range(0..corpus.len())];
            let from = random.random_range(0..=other.len());
            drop(input.splice(at..until, other[from..].iter().copied()));
        }
    }
}
