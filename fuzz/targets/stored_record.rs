//! `cargo +nightly fuzz run --features libfuzzer stored_record`
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::stored_record(bytes));
