//! Any bytes as a proxy's report of its client; the checks are in `../peers.rs`.
#![no_main]

#[path = "../peers.rs"]
mod peers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| peers::check(data));
