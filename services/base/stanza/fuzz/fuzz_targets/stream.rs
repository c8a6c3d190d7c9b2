#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| entente_stanza::fuzzing::stream(data));
