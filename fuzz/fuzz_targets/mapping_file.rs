//! A file of rules as an admin may write it, and its own tests.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| outcome_bridge::fuzzing::mapping_file(data));
