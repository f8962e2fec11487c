//! Any bytes as the body of an upload; what is checked is in `../uploads.rs`.
#![no_main]

#[path = "../uploads.rs"]
mod uploads;

libfuzzer_sys::fuzz_target!(|data: &[u8]| uploads::check(data));
