//! Any text as keys of a bucket; the checks are in `../keys.rs`.
#![no_main]

#[path = "../keys.rs"]
mod keys;

libfuzzer_sys::fuzz_target!(|data: &[u8]| keys::check(data));
