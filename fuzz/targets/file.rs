//! `cargo +nightly fuzz run --features libfuzzer file`
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::file(bytes));
