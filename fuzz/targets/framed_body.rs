#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| qanat_fuzz::framed_body(data));
