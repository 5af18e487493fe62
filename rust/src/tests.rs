//! Whole responses through the pure half, against the encoder of `testing`.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "test data are small"
)]

use std::io::Write;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int64Type, TimestampMillisecondType};
use arrow_array::{Array, StructArray};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::arrow::record_batch;
use crate::compression::Decompressor;
use crate::error::{BatchError, Fault, Malformed};
use crate::response::{self, AbortedTransaction, Response, parse};
use crate::step::{Cursor, Options};
use crate::testing::{self, Batch, Record, Section};

const LIMIT: usize = 1 << 20;
const ALL: Options = Options {
    read_committed: false,
    headers: true,
    check_crcs: true,
    max_step_bytes: 1 << 30,
    max_batch_bytes: LIMIT,
};
const COMMITTED: Options = Options {
    read_committed: true,
    ..ALL
};

/// A record as Python would see it.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    offset: i64,
    timestamp: Option<i64>,
    timestamp_type: i8,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn rows(array: &StructArray) -> Vec<Row> {
    let column = |name| array.column_by_name(name).unwrap();
    let bytes = |array: &dyn Array, at: usize| {
        array
            .is_valid(at)
            .then(|| array.as_binary::<i32>().value(at).to_vec())
    };
    let (key, value, timestamp) = (column("key"), column("value"), column("timestamp"));
    let headers = |at: usize| {
        let pairs = column("headers").as_list::<i32>().value(at);
        let pairs = pairs.as_struct();
        let names = pairs.column(0).as_string::<i32>();
        (0..pairs.len())
            .map(|at| (names.value(at).to_owned(), bytes(pairs.column(1), at)))
            .collect()
    };
    (0..array.len())
        .map(|at| Row {
            offset: column("offset").as_primitive::<Int64Type>().value(at),
            timestamp: timestamp.is_valid(at).then(|| {
                timestamp
                    .as_primitive::<TimestampMillisecondType>()
                    .value(at)
            }),
            timestamp_type: column("timestamp_type")
                .as_primitive::<Int8Type>()
                .value(at),
            key: bytes(key, at),
            value: bytes(value, at),
            headers: headers(at),
        })
        .collect()
}

/// What was read, the next offset and how many steps it took.
#[derive(Debug, PartialEq)]
struct Outcome {
    rows: Vec<Row>,
    next_offset: Option<i64>,
    steps: usize,
}

impl Outcome {
    fn values(&self) -> Vec<&str> {
        self.rows
            .iter()
            .map(|row| str::from_utf8(row.value.as_deref().unwrap()).unwrap())
            .collect()
    }

    fn offsets(&self) -> Vec<i64> {
        self.rows.iter().map(|row| row.offset).collect()
    }
}

fn read_on(records: &[u8], mut cursor: Cursor, options: Options) -> (Outcome, Option<BatchError>) {
    let mut outcome = Outcome {
        rows: Vec::new(),
        next_offset: None,
        steps: 0,
    };
    let mut decompressor = Decompressor::default();
    loop {
        match cursor.step(records, &options, &mut decompressor) {
            Ok(Some(step)) => {
                outcome
                    .rows
                    .extend(rows(&record_batch(step.columns).unwrap()));
                outcome.next_offset = Some(step.next_offset);
                outcome.steps += 1;
            }
            Ok(None) => return (outcome, None),
            Err(error) => return (outcome, Some(error)),
        }
    }
}

fn read(records: &[u8], options: Options) -> Outcome {
    let (outcome, error) = read_on(
        records,
        Cursor::new(0, i64::MAX, &[], Arc::default()),
        options,
    );
    assert_eq!(error, None);
    outcome
}

fn fault(records: &[u8], options: Options) -> BatchError {
    let (outcome, error) = read_on(
        records,
        Cursor::new(0, i64::MAX, &[], Arc::default()),
        options,
    );
    assert_eq!(outcome.rows, []);
    error.unwrap()
}

fn encode(batches: &[Batch]) -> Vec<u8> {
    batches.iter().flat_map(Batch::encode).collect()
}

/// What must come out of a batch.
fn expected(batch: &Batch) -> impl Iterator<Item = Row> + '_ {
    let log_append = batch.attributes & 8 != 0;
    batch.records.iter().map(move |record| {
        let created = batch.base_timestamp.wrapping_add(record.timestamp_delta);
        let timestamp = if log_append {
            batch.max_timestamp
        } else {
            created
        };
        Row {
            offset: batch.base_offset + i64::from(record.offset_delta),
            timestamp: (timestamp != -1).then_some(timestamp),
            timestamp_type: if log_append { 2 } else { 1 },
            key: record.key.clone(),
            value: record.value.clone(),
            headers: record
                .headers
                .iter()
                .map(|(key, value)| (String::from_utf8(key.clone()).unwrap(), value.clone()))
                .collect(),
        }
    })
}

fn any_bytes(most: usize) -> impl Strategy<Value = Option<Vec<u8>>> {
    proptest::option::weighted(0.8, vec(any::<u8>(), 0..most))
}

fn any_record() -> impl Strategy<Value = Record> {
    let timestamp = prop_oneof![4 => 0..10_000_i64, 1 => any::<i64>(), 1 => Just(-1_001)];
    let headers = vec(
        ("\\PC{0,8}".prop_map(String::into_bytes), any_bytes(12)),
        0..3,
    );
    (1..4_i32, timestamp, any_bytes(12), any_bytes(300), headers).prop_map(
        |(gap, timestamp_delta, key, value, headers)| Record {
            offset_delta: gap,
            timestamp_delta,
            key,
            value,
            headers,
        },
    )
}

/// Batches in offset order, with gaps between and within them.
fn any_batches() -> impl Strategy<Value = Vec<Batch>> {
    let batch = (
        vec(any_record(), 0..12),
        0..5_i16,
        any::<bool>(),
        0..4_i32,
        0..50_i64,
        any::<bool>(),
    );
    vec(batch, 1..6).prop_map(|parts| {
        let mut next = 0;
        let build = |(mut records, codec, log_append, tail, gap, horizon): (
            Vec<Record>,
            i16,
            bool,
            i32,
            i64,
            bool,
        )| {
            let mut delta = -1;
            for record in &mut records {
                delta += record.offset_delta; // a gap until here
                record.offset_delta = delta;
            }
            let attributes =
                codec | if log_append { 8 } else { 0 } | if horizon { 0x40 } else { 0 };
            let last_offset_delta = delta.max(0) + tail;
            let base_offset = next + gap;
            next = base_offset + i64::from(last_offset_delta) + 1;
            Batch {
                base_offset,
                last_offset_delta,
                attributes,
                records,
                ..Batch::default()
            }
        };
        parts.into_iter().map(build).collect()
    })
}

fn next_offset(batch: &Batch) -> i64 {
    batch.base_offset + i64::from(batch.last_offset_delta) + 1
}

proptest! {
    #[test]
    fn what_was_encoded_is_read(batches in any_batches(), start in 0..80_i64, length in 0..80_i64, step in 0..2_000_usize) {
        let end = start + length;
        let options = Options { max_step_bytes: step, ..ALL };
        let (outcome, error) = read_on(&encode(&batches), Cursor::new(start, end, &[], Arc::default()), options);
        prop_assert_eq!(error, None);
        let wanted: Vec<_> = batches.iter().flat_map(expected).filter(|row| (start..end).contains(&row.offset)).collect();
        prop_assert_eq!(&outcome.rows, &wanted);
        let reached = batches.iter().map(next_offset).max().unwrap();
        prop_assert!(outcome.next_offset.unwrap() >= reached.min(end));
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))] // each reads thousands of prefixes

    #[test]
    fn every_prefix_is_cut_after_its_whole_batches(batches in any_batches()) {
        let records = encode(&batches);
        let ends: Vec<usize> = batches.iter().scan(0, |at, batch| { *at += batch.encode().len(); Some(*at) }).collect();
        for cut in 0..records.len() {
            let whole = ends.iter().filter(|&&end| end <= cut).count();
            let outcome = read(&records[..cut], ALL);
            prop_assert_eq!(outcome.rows, batches[..whole].iter().flat_map(expected).collect::<Vec<_>>());
            prop_assert_eq!(outcome.next_offset, batches[..whole].last().map(next_offset));
        }
    }

}

proptest! {
    #[test]
    fn small_steps_give_the_same_as_one(batches in any_batches()) {
        let records = encode(&batches);
        let (whole, stepwise) = (read(&records, ALL), read(&records, Options { max_step_bytes: 0, ..ALL }));
        prop_assert_eq!(whole.steps, 1);
        prop_assert_eq!(whole.rows, stepwise.rows);
        prop_assert_eq!(whole.next_offset, stepwise.next_offset);
    }

    #[test]
    fn any_bytes_are_a_response_or_malformed(bytes in vec(any::<u8>(), 0..400), version in 4..12_i16) {
        read_frame(&bytes, version);
    }

    #[test]
    fn any_bytes_are_records_or_a_fault(bytes in vec(any::<u8>(), 0..400), codec in 0..8_i16, count in 0..20_usize) {
        let records = vec![Record::default(); count];
        let batch = Batch { attributes: codec, last_offset_delta: 30, records, ..Batch::default() };
        read_on(&batch.encode_around(&bytes), Cursor::new(0, i64::MAX, &[], Arc::default()), ALL);
    }
}

/// Read a frame to its end or its error.
fn read_frame(frame: &[u8], version: i16) -> bool {
    let Ok(parsed) = parse(frame, version, usize::MAX) else {
        return false;
    };
    let options = Options {
        check_crcs: false,
        read_committed: true,
        ..ALL
    };
    parsed.partitions.iter().all(|partition| {
        let cursor = Cursor::new(0, i64::MAX, &partition.aborted, Arc::default());
        read_on(&frame[partition.records.clone()], cursor, options)
            .1
            .is_none()
    })
}

fn sections() -> Vec<Section> {
    let section = |partition, codec| {
        let batches = [
            Batch::of(10, &["a", "bb", "ccc"]).with(codec, -1),
            Batch::of(13, &["dddd"; 30]).with(codec | 0x10, 4),
            Batch::marker(43, 4, 0),
        ];
        Section {
            topic: "orders",
            partition,
            aborted: vec![(4, 13)],
            records: encode(&batches),
        }
    };
    (0..5)
        .map(|codec| section(i32::from(codec), codec))
        .collect()
}

#[test]
fn ten_thousand_mutated_responses_give_a_value_or_the_declared_error() {
    let frame = testing::response(11, &sections());
    assert!(read_frame(&frame, 11));
    let mut state = 7_u64;
    let mut draw = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let refused = (0..10_000)
        .filter(|_| {
            let mut mutant = frame.clone();
            for _ in 0..=draw(4) {
                let at = draw(mutant.len());
                mutant[at] = u8::try_from(draw(256)).unwrap();
            }
            mutant.truncate(if draw(8) == 0 {
                draw(mutant.len())
            } else {
                mutant.len()
            });
            !read_frame(&mutant, 11)
        })
        .count();
    assert!((1_000..10_000).contains(&refused), "{refused}");
}

#[test]
fn a_response_is_read_in_every_version_whole_cut_and_not_with_bytes_left_over() {
    for version in response::VERSIONS {
        let frame = testing::response(version, &sections());
        let Response {
            correlation_id,
            throttle_ms,
            error_code,
            partitions,
        } = parse(&frame, version, usize::MAX).unwrap();
        assert_eq!(
            (correlation_id, throttle_ms, error_code, partitions.len()),
            (7, 5, 0, 5)
        );
        let last = &partitions[4];
        assert_eq!(
            (&*last.topic, last.partition, last.error_code),
            ("orders", 4, 0)
        );
        assert_eq!((last.high_watermark, last.last_stable_offset), (100, 90));
        assert_eq!(last.log_start_offset, if version >= 5 { 3 } else { -1 });
        assert_eq!(last.preferred_read_replica, -1);
        assert_eq!(
            last.aborted,
            [AbortedTransaction {
                producer_id: 4,
                first_offset: 13
            }]
        );
        assert_eq!(last.whole.next_offset, Some(44));
        assert_eq!(
            (last.whole.base_offset, last.whole.after_gap),
            (Some(10), None)
        );
        assert_eq!(&frame[last.records.clone()], &sections()[4].records);
        for cut in 0..frame.len() {
            assert!(
                matches!(parse(&frame[..cut], version, usize::MAX), Err(Malformed(_))),
                "{version} {cut}"
            );
        }
        let longer = [&frame[..], &[0]].concat();
        assert!(matches!(
            parse(&longer, version, usize::MAX),
            Err(Malformed(_))
        ));
    }
}

#[test]
fn the_scan_tells_the_size_of_a_cut_batch() {
    let whole = Batch::of(5, &["a"]).encode();
    let next = Batch::of(6, &["b"; 50]).encode();
    for (kept, size) in [
        (11, None),
        (12, Some(next.len())),
        (next.len() - 1, Some(next.len())),
    ] {
        let records = [&whole[..], &next[..kept]].concat();
        let frame = testing::response(
            11,
            &[Section {
                topic: "t",
                partition: 0,
                aborted: vec![],
                records,
            }],
        );
        let scanned = parse(&frame, 11, usize::MAX).unwrap().partitions[0].whole;
        assert_eq!(
            (scanned.next_offset, scanned.cut_batch_bytes),
            (Some(6), size)
        );
    }
}

#[test]
fn aborted_transactions_are_hidden_from_the_reader_of_committed_records() {
    let batches = [
        Batch::of(0, &["plain"]),
        Batch::of(1, &["aborted"]).with(0x10, 7),
        Batch::of(2, &["kept"]).with(0x10, 8),
        Batch::of(3, &["idempotent"]).with(0, 7), // not transactional
        Batch::marker(4, 7, 0),
        Batch::of(5, &["next transaction"]).with(0x10, 7),
        Batch::marker(6, 8, 1),
        Batch::marker(7, 7, 1),
        Batch::of(8, &["aborted later"]).with(0x10, 8),
        Batch::marker(9, 8, 0),
    ];
    let aborted = [(8, 8), (7, 1)].map(|(producer_id, first_offset)| AbortedTransaction {
        producer_id,
        first_offset,
    });
    for max_step_bytes in [0, 1 << 20] {
        let options = Options {
            max_step_bytes,
            ..COMMITTED
        };
        let (outcome, error) = read_on(
            &encode(&batches),
            Cursor::new(0, i64::MAX, &aborted, Arc::default()),
            options,
        );
        assert_eq!(error, None);
        assert_eq!(
            outcome.values(),
            ["plain", "kept", "idempotent", "next transaction"]
        );
        assert_eq!(outcome.next_offset, Some(10));
        let (outcome, _) = read_on(
            &encode(&batches),
            Cursor::new(0, i64::MAX, &aborted, Arc::default()),
            Options {
                max_step_bytes,
                ..ALL
            },
        );
        assert_eq!(outcome.offsets(), [0, 1, 2, 3, 5, 8]);
        assert_eq!(outcome.next_offset, Some(10));
    }
}

#[test]
fn a_marker_that_contradicts_the_list_of_aborted_transactions_is_a_fault() {
    for (listed, kind) in [(false, 0), (true, 1)] {
        let batches = [
            Batch::of(0, &["mine"]).with(0x10, 7),
            Batch::of(1, &["another"]).with(0x10, 8),
            Batch::marker(2, 7, kind),
            Batch::marker(3, 8, 1),
        ];
        let aborted = [AbortedTransaction {
            producer_id: 7,
            first_offset: 0,
        }];
        let aborted = if listed { &aborted[..] } else { &[] };
        for max_step_bytes in [0, 1 << 20] {
            let options = Options {
                max_step_bytes,
                ..COMMITTED
            };
            let cursor = Cursor::new(0, i64::MAX, aborted, Arc::default());
            let (_, error) = read_on(&encode(&batches), cursor, options);
            assert!(matches!(
                error,
                Some(BatchError {
                    base_offset: 2,
                    fault: Fault::Corrupt(_)
                })
            ));
        }
    }
}

#[test]
fn a_marker_that_compaction_has_emptied_says_nothing() {
    let emptied = Batch {
        records: vec![],
        ..Batch::marker(1, 7, 1)
    };
    let batches = [
        Batch::of(0, &["aborted"]).with(0x10, 7),
        emptied,
        Batch::of(2, &["plain"]),
    ];
    let aborted = [AbortedTransaction {
        producer_id: 7,
        first_offset: 0,
    }];
    let cursor = Cursor::new(0, i64::MAX, &aborted, Arc::default());
    let (outcome, error) = read_on(&encode(&batches), cursor, COMMITTED);
    assert_eq!((outcome.values(), error), (vec!["plain"], None));
}

#[test]
fn offsets_that_fall_from_batch_to_batch_are_a_fault() {
    let good = [Batch::of(5, &["a", "b"]), Batch::of(7, &["c"])];
    assert_eq!(read(&encode(&good), ALL).offsets(), [5, 6, 7]);
    for bad in [
        [Batch::of(5, &["a", "b"]), Batch::of(6, &["c"])],
        [Batch::of(9, &["c"]), Batch::of(5, &["a", "b"])],
    ] {
        let bytes = encode(&bad);
        let cursor = Cursor::new(0, i64::MAX, &[], Arc::default());
        let (outcome, error) = read_on(&bytes, cursor, ALL);
        assert_eq!(outcome.rows.len(), bad[0].records.len());
        let error = error.unwrap();
        assert_eq!(error.base_offset, bad[1].base_offset);
        assert!(matches!(error.fault, Fault::Corrupt(_)));
        let frame = testing::response(11, &[section(bytes)]);
        let scanned = parse(&frame, 11, 1).unwrap().partitions[0].whole;
        assert_eq!(scanned.misplaced, Some(bad[1].base_offset));
    }
}

fn section(records: Vec<u8>) -> Section {
    Section {
        topic: "t",
        partition: 0,
        aborted: vec![],
        records,
    }
}

#[test]
fn messages_of_an_old_format_end_what_is_read_and_are_announced() {
    for magic in [0, 1] {
        let mut old = Batch::of(6, &["old"]).encode();
        old[16] = magic;
        let records = [Batch::of(5, &["a"]).encode(), old].concat();
        assert_eq!(read(&records, ALL).values(), ["a"]);
        let frame = testing::response(11, &[section(records)]);
        let scanned = parse(&frame, 11, 1).unwrap().partitions[0].whole;
        assert_eq!((scanned.next_offset, scanned.old_format), (Some(6), true));
    }
}

#[test]
fn more_partitions_than_were_asked_for_are_malformed() {
    let frame = testing::response(11, &sections());
    assert_eq!(parse(&frame, 11, 5).unwrap().partitions.len(), 5);
    for most in 0..5 {
        assert!(matches!(parse(&frame, 11, most), Err(Malformed(_))));
    }
}

#[test]
fn of_the_aborted_transactions_those_are_kept_that_can_hide_a_batch() {
    let batches = [Batch::of(5, &["a"]).with(0x10, 7), Batch::of(6, &["b"])];
    let listed: Vec<_> = (0..1_000).map(|number| (number, 0)).collect();
    let aborted = [listed, vec![(7, 5), (7, 7)]].concat();
    let frame = testing::response(
        11,
        &[Section {
            aborted,
            ..section(encode(&batches))
        }],
    );
    let kept = &parse(&frame, 11, 1).unwrap().partitions[0].aborted;
    let offsets: Vec<_> = kept.iter().map(|one| one.first_offset).collect();
    assert_eq!(offsets, [0, 5]);
    assert!(kept.iter().all(|one| one.producer_id == 7));
}

#[test]
fn a_header_s_name_that_is_no_text_is_written_out() {
    let mut record = Batch::of(0, &["a"]).records.remove(0);
    record.headers = vec![(b"a\xff\x0bz".to_vec(), None)];
    let batch = Batch {
        records: vec![record],
        ..Batch::default()
    };
    let outcome = read(&batch.encode(), ALL);
    assert_eq!(outcome.rows[0].headers[0].0, "a\\xff\u{b}z");
}

#[test]
fn the_next_offset_is_after_the_batch_and_not_after_its_last_record() {
    let compacted = Batch {
        last_offset_delta: 99,
        ..Batch::of(100, &["only"])
    };
    let emptied = Batch {
        last_offset_delta: 49,
        ..Batch::of(200, &[])
    };
    let outcome = read(&encode(&[compacted, emptied]), ALL);
    assert_eq!(
        (outcome.offsets(), outcome.next_offset),
        (vec![100], Some(250))
    );
}

#[test]
fn a_range_ends_at_a_batch_that_begins_behind_it() {
    let records = encode(&[Batch::of(5, &["a"]), Batch::of(50, &["b"])]);
    for (start, end, offsets, next) in [
        (0, 20, vec![5], 50),
        (6, 20, vec![], 50),
        (0, 3, vec![], 5),
        (9, 51, vec![50], 51),
    ] {
        let (outcome, error) = read_on(&records, Cursor::new(start, end, &[], Arc::default()), ALL);
        assert_eq!(
            (outcome.offsets(), outcome.next_offset, error),
            (offsets, Some(next), None)
        );
    }
}

#[test]
fn log_append_time_and_no_time() {
    let timed = Batch {
        max_timestamp: 77,
        ..Batch::of(0, &["a", "b"]).with(8, -1)
    };
    let untimed = Batch {
        base_timestamp: -1,
        ..Batch::of(2, &["c"])
    };
    let unknown_append = Batch {
        max_timestamp: -1,
        ..Batch::of(3, &["d"]).with(8, -1)
    };
    let outcome = read(&encode(&[timed, untimed, unknown_append]), ALL);
    let stamps: Vec<_> = outcome
        .rows
        .iter()
        .map(|row| (row.timestamp, row.timestamp_type))
        .collect();
    assert_eq!(stamps, [(Some(77), 2), (Some(77), 2), (None, 1), (None, 2)]);
}

#[test]
fn header_names_that_are_no_utf8_are_escaped() {
    let headers = vec![
        (b"caf\xe9-\xc3\xa9".to_vec(), None),
        (b"caf\xe9-\xc3\xa9".to_vec(), Some(vec![])),
    ];
    let record = Record {
        headers,
        ..Record::default()
    };
    let outcome = read(
        &Batch {
            records: vec![record],
            ..Batch::default()
        }
        .encode(),
        ALL,
    );
    let name = || "caf\\xe9-é".to_owned();
    assert_eq!(
        outcome.rows[0].headers,
        [(name(), None), (name(), Some(vec![]))]
    );
}

#[test]
fn a_changed_byte_is_told_by_the_checksum_unless_it_is_off() {
    let mut records = encode(&[Batch::of(0, &["a"]), Batch::of(1, &["b"])]);
    let last_value = records.len() - 2;
    records[last_value] = b'c';
    let (outcome, error) = read_on(&records, Cursor::new(0, i64::MAX, &[], Arc::default()), ALL);
    assert_eq!(
        (outcome.values(), outcome.next_offset),
        (vec!["a"], Some(1))
    );
    assert!(matches!(
        error,
        Some(BatchError {
            base_offset: 1,
            fault: Fault::Corrupt(_)
        })
    ));
    assert_eq!(
        read(
            &records,
            Options {
                check_crcs: false,
                ..ALL
            }
        )
        .values(),
        ["a", "c"]
    );
}

#[test]
fn the_records_of_a_broken_batch_are_not_given_away() {
    let mut broken = Batch::of(1, &["b", "c"]);
    broken.records.push(Record {
        offset_delta: 9,
        headers: vec![(b"h".to_vec(), None)],
        ..Record::default()
    });
    broken.records[1].headers = vec![(b"h".to_vec(), Some(b"v".to_vec()))];
    let records = encode(&[Batch::of(0, &["a"]), broken]);
    let (outcome, error) = read_on(&records, Cursor::new(0, i64::MAX, &[], Arc::default()), ALL);
    assert_eq!(
        (outcome.values(), outcome.next_offset),
        (vec!["a"], Some(1))
    );
    assert_eq!(error.unwrap().base_offset, 1);
}

#[test]
fn an_unknown_format_is_named() {
    let mut records = Batch::of(42, &["a"]).encode();
    records[16] = 3;
    assert_eq!(
        fault(&records, ALL),
        BatchError {
            base_offset: 42,
            fault: Fault::Magic(3)
        }
    );
}

#[test]
fn impossible_headers_are_corrupt() {
    let corrupt = |batch: &Batch| {
        assert!(matches!(
            fault(&batch.encode(), ALL).fault,
            Fault::Corrupt(_)
        ));
    };
    corrupt(&Batch {
        last_offset_delta: -1,
        ..Batch::default()
    });
    corrupt(&Batch {
        base_offset: -5,
        ..Batch::default()
    });
    corrupt(&Batch {
        base_offset: i64::MAX,
        ..Batch::default()
    });
    let mut negative = Batch::of(3, &["a"]).encode();
    negative[8..12].copy_from_slice(&(-1_i32).to_be_bytes());
    assert!(matches!(fault(&negative, ALL).fault, Fault::Corrupt(_)));
    let mut short = Batch::of(3, &["a"]).encode();
    short[8..12].copy_from_slice(&40_i32.to_be_bytes());
    assert!(matches!(fault(&short, ALL).fault, Fault::Corrupt(_)));
}

#[test]
fn offsets_that_do_not_rise_are_corrupt_in_steps_of_any_size() {
    for deltas in [[0, 0], [1, 0], [1, 1], [0, 2]] {
        let mut batch = Batch::of(5, &["a", "b"]);
        for (record, delta) in batch.records.iter_mut().zip(deltas) {
            record.offset_delta = delta;
        }
        for max_step_bytes in [0, ALL.max_step_bytes] {
            let options = Options {
                max_step_bytes,
                ..ALL
            };
            let cursor = Cursor::new(0, i64::MAX, &[], Arc::default());
            let (_, error) = read_on(&batch.encode(), cursor, options);
            assert_eq!(error.unwrap().base_offset, 5, "{deltas:?}");
        }
    }
}

#[test]
fn a_count_far_above_what_the_batch_can_hold_reserves_nothing() {
    let mut records = Batch::of(0, &["a"]).encode();
    records[57..61].copy_from_slice(&i32::MAX.to_be_bytes());
    let options = Options {
        check_crcs: false,
        ..ALL
    };
    assert!(matches!(fault(&records, options).fault, Fault::Corrupt(_)));
}

#[test]
fn padded_varints_are_read() {
    let record = [0x8e_u8, 0x80, 0x00, 0, 0x80, 0x00, 0x00, 0x01, 0x01, 0x00];
    let batch = Batch {
        records: vec![Record::default()],
        ..Batch::default()
    };
    assert_eq!(
        read(&batch.encode_around(&record), ALL).rows,
        expected(&batch).collect::<Vec<_>>()
    );
}

fn text(bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|at| b"the quick brown fox "[(at * at / 7) % 20])
        .collect()
}

/// A batch of one record around a payload that the given encoder compresses in two halves.
fn in_halves(codec: i16, encoder: impl Fn(&[u8]) -> Vec<u8>) -> (Batch, Vec<u8>) {
    let record = Record {
        value: Some(text(150_000)),
        ..Record::default()
    };
    let batch = Batch {
        attributes: codec,
        records: vec![record],
        ..Batch::default()
    };
    let payload = batch.records[0].encode();
    let (first, second) = payload.split_at(payload.len() / 2);
    let bytes = batch.encode_around(&[encoder(first), encoder(second)].concat());
    (batch, bytes)
}

#[test]
fn streams_of_many_members_are_read_to_their_end() {
    for (batch, encoded) in [
        in_halves(1, testing::gzip),
        in_halves(3, |data| testing::lz4(data, true)),
        in_halves(4, testing::zstd),
    ] {
        assert_eq!(
            read(&encoded, ALL).rows,
            expected(&batch).collect::<Vec<_>>()
        );
    }
}

#[test]
fn raw_snappy_and_linked_lz4_blocks_are_read() {
    let record = Record {
        value: Some(text(300_000)),
        ..Record::default()
    };
    let batch = |codec| Batch {
        attributes: codec,
        records: vec![record.clone()],
        ..Batch::default()
    };
    let payload = record.encode();
    let raw_snappy = snap::raw::Encoder::new().compress_vec(&payload).unwrap();
    for (codec, compressed) in [
        (2, raw_snappy),
        (2, testing::xerial(&payload)),
        (3, testing::lz4(&payload, false)),
    ] {
        let batch = batch(codec);
        assert_eq!(
            read(&batch.encode_around(&compressed), ALL).rows,
            expected(&batch).collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_batch_may_be_as_large_as_the_limit_and_no_larger() {
    let value = |bytes: usize| Record {
        value: Some(text(bytes)),
        ..Record::default()
    };
    for codec in 0..5 {
        let batch = Batch {
            attributes: codec,
            records: vec![value(200_000)],
            ..Batch::default()
        };
        let size = batch.records[0].encode().len();
        let records = batch.encode();
        assert_eq!(
            read(
                &records,
                Options {
                    max_batch_bytes: size,
                    ..ALL
                }
            )
            .rows
            .len(),
            1,
            "codec {codec}"
        );
        let fault = fault(
            &records,
            Options {
                max_batch_bytes: size - 1,
                ..ALL
            },
        )
        .fault;
        assert_eq!(fault, Fault::TooLarge(size - 1), "codec {codec}");
    }
}

#[test]
fn bombs_are_refused() {
    let zeros = vec![0; 1 << 20];
    let mut zstd = zstd_safe::CCtx::create();
    let mut bomb = Vec::with_capacity(zstd_safe::compress_bound(1 << 30));
    zstd.compress(&mut bomb, &vec![0; 1 << 30], 1).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    (0..64).for_each(|_| gzip.write_all(&zeros).unwrap());
    let members = testing::gzip(&zeros).repeat(64);
    let frames = testing::zstd(&zeros).repeat(64);
    let blocks = testing::lz4(&vec![0; 64 << 20], true);
    for (codec, payload) in [
        (4, bomb),
        (4, frames),
        (1, gzip.finish().unwrap()),
        (1, members),
        (3, blocks),
    ] {
        assert!(payload.len() < LIMIT);
        let batch = Batch {
            attributes: codec,
            records: vec![Record::default()],
            ..Batch::default()
        };
        assert_eq!(
            fault(&batch.encode_around(&payload), ALL).fault,
            Fault::TooLarge(LIMIT),
            "codec {codec}"
        );
    }
}

#[test]
fn a_batch_too_much_for_one_step_is_kept_for_the_next() {
    for codec in 0..5 {
        let batches: Vec<_> = (0..4)
            .map(|at| Batch::of(at * 2, &["0123456789", "x"]).with(codec, -1))
            .collect();
        let size = batches[0]
            .records
            .iter()
            .map(|record| record.encode().len())
            .sum::<usize>();
        let outcome = read(
            &encode(&batches),
            Options {
                max_step_bytes: 2 * size,
                ..ALL
            },
        );
        assert_eq!((outcome.steps, outcome.offsets()), (2, (0..8).collect()));
    }
}

#[test]
fn a_marker_that_is_cut_is_corrupt() {
    let marker = Batch {
        records: vec![Record {
            key: Some(vec![0]),
            ..Record::default()
        }],
        ..Batch::marker(0, 7, 0)
    };
    assert!(matches!(
        fault(&marker.encode(), COMMITTED).fault,
        Fault::Corrupt(_)
    ));
}
