//! Query strings and bodies of the admin API, and compressed bodies.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| outcome_bridge::fuzzing::admin_input(data));
