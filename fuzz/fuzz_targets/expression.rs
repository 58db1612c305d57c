//! An expression and an event that it is evaluated on.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| outcome_bridge::fuzzing::expression(data));
