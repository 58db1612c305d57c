//! What a destination answers, judged by its connector's rules.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| outcome_bridge::fuzzing::answer(data));
