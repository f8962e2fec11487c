//! Any bytes as what a proxy says of its client; what is checked is in `../peers.rs`.
#![no_main]

#[path = "../peers.rs"]
mod peers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| peers::check(data));
