//! Any bytes are a response, read step by step to its end, or have the one declared fault.
#![no_main]

use std::sync::Arc;

use arbitrary::Arbitrary;
use kafkalab_fuzz::compression::Decompressor;
use kafkalab_fuzz::response::{VERSIONS, parse};
use kafkalab_fuzz::step::{Cursor, Options};
use libfuzzer_sys::fuzz_target;

const MOST_STEP_BYTES: u32 = 1 << 16;
const MOST_BATCH_BYTES: usize = 1 << 20;

#[derive(Arbitrary, Debug)]
struct Asked {
    version: u8,
    start: i64,
    end: i64,
    read_committed: bool,
    headers: bool,
    check_crcs: bool,
    step_bytes: u32,
}

fuzz_target!(|given: (Asked, &[u8])| {
    let (asked, frame) = given;
    let versions = VERSIONS.count();
    let version = VERSIONS.start() + i16::try_from(usize::from(asked.version) % versions).unwrap();
    let Ok(response) = parse(frame, version, usize::MAX) else {
        return;
    };
    let options = Options {
        read_committed: asked.read_committed,
        headers: asked.headers,
        check_crcs: asked.check_crcs,
        max_step_bytes: (asked.step_bytes % MOST_STEP_BYTES) as usize,
        max_batch_bytes: MOST_BATCH_BYTES,
    };
    let mut decompressor = Decompressor::default();
    for partition in &response.partitions {
        let records = &frame[partition.records.clone()];
        let mut cursor = Cursor::new(asked.start, asked.end, &partition.aborted, Arc::default());
        let mut next_offset = asked.start;
        while let Ok(Some(step)) = cursor.step(records, &options, &mut decompressor) {
            assert!(step.next_offset >= next_offset);
            next_offset = step.next_offset;
        }
    }
});
