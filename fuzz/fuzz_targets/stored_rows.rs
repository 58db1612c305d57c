//! Rows and records of the data files, damaged in any way.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| outcome_bridge::fuzzing::stored_rows(data));
