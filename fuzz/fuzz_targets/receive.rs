//! A request from anywhere to any source: it verifies, is refused or is a handshake, and nothing else.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| outcome_bridge::fuzzing::receive(data));
