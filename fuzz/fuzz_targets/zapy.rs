#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wawp_contacts_fuzz::run("zapy", data));
