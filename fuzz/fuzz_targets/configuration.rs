//! An operator's configuration.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| outcome_bridge::fuzzing::configuration(data));
