//! Any text as a policy of temporary credentials; the checks are in `../policy.rs`.
#![no_main]

#[path = "../policy.rs"]
mod policy;

libfuzzer_sys::fuzz_target!(|data: &[u8]| policy::check(data));
