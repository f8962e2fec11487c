//! Any bytes as the body of an upload; the checks are in `../uploads.rs`.
#![no_main]

#[path = "../uploads.rs"]
mod uploads;

libfuzzer_sys::fuzz_target!(|data: &[u8]| uploads::check(data));
