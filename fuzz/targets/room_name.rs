//! `cargo +nightly fuzz run --features libfuzzer room_name`
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::room_name(bytes));
