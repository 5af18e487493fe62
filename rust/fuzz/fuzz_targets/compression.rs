//! Any bytes decompress to at most the limit, twice to the same, or have the one declared fault.
#![no_main]

use kafkalab_fuzz::compression::Decompressor;
use libfuzzer_sys::fuzz_target;

const MOST_LIMIT: u32 = 1 << 20;

fuzz_target!(|given: (u8, u32, &[u8])| {
    let (codec, limit, bytes) = given;
    let limit = (limit % MOST_LIMIT) as usize;
    let mut decompressor = Decompressor::default();
    let first = decompressor
        .decompress(i16::from(codec % 8), bytes, limit)
        .map(<[u8]>::to_vec);
    if let Ok(whole) = &first {
        assert!(whole.len() <= limit);
    }
    assert_eq!(
        decompressor
            .decompress(i16::from(codec % 8), bytes, limit)
            .map(<[u8]>::to_vec),
        first
    );
});
