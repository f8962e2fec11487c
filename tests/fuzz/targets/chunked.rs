//! Any bytes as a body in chunks; the checks are in `../chunked.rs`.
#![no_main]

#[path = "../chunked.rs"]
mod chunked;

libfuzzer_sys::fuzz_target!(|data: &[u8]| chunked::check(data));
