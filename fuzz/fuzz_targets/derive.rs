//! A verified body of any kind, read and mapped by the connector's own rules.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| outcome_bridge::fuzzing::derive(data));
