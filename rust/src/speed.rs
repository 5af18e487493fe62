//! How fast the pure half is: `cargo test --release speed -- --ignored --nocapture`.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "test data are small"
)]

use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::arrow::record_batch;
use crate::batch::checksum;
use crate::compression::Decompressor;
use crate::step::{Cursor, Options};
use crate::testing::{Batch, Record};

const RECORDS_A_BATCH: i64 = 8_000;
const BATCHES: i64 = 40;
const ROUNDS: usize = 12;

fn log(codec: i16) -> Vec<u8> {
    let batch = |index: i64| {
        let records = (0..RECORDS_A_BATCH)
            .map(|delta| record(index * RECORDS_A_BATCH + delta, delta))
            .collect();
        Batch {
            base_offset: index * RECORDS_A_BATCH,
            last_offset_delta: (RECORDS_A_BATCH - 1) as i32,
            attributes: codec,
            records,
            ..Batch::default()
        }
    };
    (0..BATCHES)
        .flat_map(|index| batch(index).encode())
        .collect()
}

fn record(offset: i64, delta: i64) -> Record {
    let mixed = (offset as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let value = format!(
        r#"{{"id":{offset:08},"user":"u{:05}","amount":{:>7.2},"city":"city-{:03}","ok":{},"note":"{:016x}"}}"#,
        mixed >> 48,
        (mixed >> 20 & 0xffff) as f64 / 7.0,
        mixed >> 40 & 0xff,
        if mixed & 1 == 0 { "true " } else { "false" },
        mixed >> 12 & 0xffff_ffff,
    );
    Record {
        offset_delta: delta as i32,
        timestamp_delta: delta / 3,
        key: Some(format!("k{:05}", mixed >> 48).into_bytes()),
        value: Some(value.into_bytes()),
        headers: Vec::new(),
    }
}

/// Of this thread: others share the machine.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn best(mut work: impl FnMut() -> usize) -> f64 {
    (0..ROUNDS)
        .map(|_| {
            let begun = cpu_time();
            let done = work();
            done as f64 / cpu_time().saturating_sub(begun).as_secs_f64()
        })
        .fold(0.0, f64::max)
}

#[test]
#[ignore = "a measurement, not a check"]
fn speed() {
    let options = Options {
        read_committed: true,
        headers: false,
        check_crcs: true,
        max_step_bytes: 16 << 20,
        max_batch_bytes: 256 << 20,
    };
    for (name, codec) in [
        ("none", 0),
        ("gzip", 1),
        ("snappy", 2),
        ("lz4", 3),
        ("zstd", 4),
    ] {
        let log = log(codec);
        let mut decompressor = Decompressor::default();
        let rate = best(|| {
            let mut cursor = Cursor::new(0, i64::MAX, &[], Arc::default());
            let mut rows = 0;
            while let Some(step) = cursor.step(&log, &options, &mut decompressor).unwrap() {
                rows += arrow_array::Array::len(&record_batch(step.columns).unwrap());
            }
            assert_eq!(rows as i64, RECORDS_A_BATCH * BATCHES);
            rows
        });
        println!(
            "{name:>7}: {:6.1} M records/s ({} B a record on the wire)",
            rate / 1e6,
            log.len() as i64 / (RECORDS_A_BATCH * BATCHES)
        );
        let crc = best(|| {
            std::hint::black_box(checksum(&log));
            log.len()
        });
        println!("{:>7}: {:6.1} GB/s CRC-32C", "", crc / 1e9);
    }
}
