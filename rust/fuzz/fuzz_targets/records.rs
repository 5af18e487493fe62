//! Any bytes behind a whole header are a batch's records, alike in steps of any size, or have the declared fault in all.
#![no_main]

use std::sync::Arc;

use arbitrary::Arbitrary;
use kafkalab_fuzz::compression::Decompressor;
use kafkalab_fuzz::error::BatchError;
use kafkalab_fuzz::response::AbortedTransaction;
use kafkalab_fuzz::step::{Cursor, Options};
use libfuzzer_sys::fuzz_target;

const PRODUCER: i64 = 1;
const WHOLE: Options = Options {
    read_committed: true,
    headers: true,
    check_crcs: false,
    max_step_bytes: 1 << 20,
    max_batch_bytes: 1 << 20,
};

#[derive(Arbitrary, Debug)]
struct Header {
    base_offset: u16,
    attributes: u8,
    last_offset_delta: u16,
    base_timestamp: i64,
    max_timestamp: i64,
    count: u8,
}

impl Header {
    /// Put the header before the bytes; the checksum is left at zero.
    fn around(&self, records: &[u8]) -> Vec<u8> {
        let length = u32::try_from(49 + records.len()).unwrap();
        let mut batch = i64::from(self.base_offset).to_be_bytes().to_vec();
        batch.extend(length.to_be_bytes());
        batch.extend((-1_i32).to_be_bytes());
        batch.extend([2, 0, 0, 0, 0]);
        batch.extend(i16::from(self.attributes).to_be_bytes());
        batch.extend(i32::from(self.last_offset_delta).to_be_bytes());
        batch.extend(self.base_timestamp.to_be_bytes());
        batch.extend(self.max_timestamp.to_be_bytes());
        batch.extend(PRODUCER.to_be_bytes());
        batch.extend([0; 2]);
        batch.extend((-1_i32).to_be_bytes());
        batch.extend(i32::from(self.count).to_be_bytes());
        batch.extend(records);
        batch
    }
}

fn read(batches: &[u8], options: &Options) -> (usize, i64, Option<BatchError>) {
    let aborted = [AbortedTransaction {
        producer_id: PRODUCER,
        first_offset: 1 << 15,
    }];
    let mut cursor = Cursor::new(0, i64::MAX, &aborted, Arc::default());
    let mut decompressor = Decompressor::default();
    let (mut count, mut next_offset) = (0, 0);
    loop {
        match cursor.step(batches, options, &mut decompressor) {
            Ok(Some(step)) => {
                assert!(step.next_offset >= next_offset);
                (count, next_offset) = (count + step.columns.len(), step.next_offset);
            }
            Ok(None) => return (count, next_offset, None),
            Err(error) => return (count, next_offset, Some(error)),
        }
    }
}

fuzz_target!(|given: (Header, Header, u16, &[u8])| {
    let (first, second, cut, bytes) = given;
    let (before, after) = bytes.split_at(usize::from(cut).min(bytes.len()));
    let batches = [first.around(before), second.around(after)].concat();
    let stepwise = Options {
        max_step_bytes: 0,
        ..WHOLE
    };
    let (count, next_offset, fault) = read(&batches, &WHOLE);
    let in_steps = read(&batches, &stepwise);
    if fault.is_none() {
        assert_eq!(in_steps, (count, next_offset, None));
    } else {
        // A batch that is too much for a step has given the records before its fault by then.
        assert_eq!(in_steps.2, fault);
        assert!(in_steps.0 >= count && in_steps.1 >= next_offset);
    }
});
