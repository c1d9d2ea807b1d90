//! `cargo +nightly fuzz run --features libfuzzer client_json`
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::client_json(bytes));
