//! A connector's folder as somebody may write it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| outcome_bridge::fuzzing::connector_file(data));
