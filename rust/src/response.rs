//! The Fetch response, versions 4 to 11, around the record batches.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use crate::batch::{Front, Order, RawBatch, front};
use crate::error::Malformed;
use crate::reader::Reader;

/// The versions that are read here: with format v2, and before flexible fields and topic ids.
pub const VERSIONS: std::ops::RangeInclusive<i16> = 4..=11;
const UNKNOWN: i32 = -1;
/// Of an aborted transaction: a producer and an offset.
const ABORTED_BYTES: usize = 16;
const TOO_MANY: Malformed = Malformed("it has more topics or partitions than were asked for");

/// A transaction that the reader of committed records must not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    pub first_offset: i64,
}

/// What a response says about one partition.
#[derive(Clone, Debug)]
pub struct Partition {
    pub topic: Arc<str>,
    #[expect(
        clippy::struct_field_names,
        reason = "the protocol's word for its number"
    )]
    pub partition: i32,
    pub error_code: i16,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start_offset: i64,
    pub preferred_read_replica: i32,
    /// Those that can hide a batch of this answer.
    pub aborted: Vec<AbortedTransaction>,
    /// Where in the frame its batches are.
    pub records: Range<usize>,
    pub whole: Whole,
}

/// What of a partition's batches came whole, told from their headers alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Whole {
    /// The first offset of the first whole batch.
    pub base_offset: Option<i64>,
    /// The offset after the last whole batch.
    pub next_offset: Option<i64>,
    /// The offset after the last batch that does not begin where the one before it ends.
    pub after_gap: Option<i64>,
    /// The size of the batch that was cut at the end.
    pub cut_batch_bytes: Option<usize>,
    /// Whether messages of format v0 or v1 follow.
    pub old_format: bool,
    /// The first offset of a batch that begins before the last has ended.
    pub misplaced: Option<i64>,
}

/// A response, without the batches' contents.
#[derive(Debug, Default)]
pub struct Response {
    pub correlation_id: i32,
    pub throttle_ms: i32,
    pub error_code: i16,
    pub partitions: Vec<Partition>,
}

/// Read a frame, whose first field is the correlation id; more topics or partitions than so many are refused.
pub fn parse(frame: &[u8], version: i16, most: usize) -> Result<Response, Malformed> {
    let mut reader = Reader(frame);
    let cut = Malformed("it is cut");
    let (mut response, topics) = head(&mut reader, version).ok_or(cut)?;
    if topics > most {
        return Err(TOO_MANY);
    }
    for _ in 0..topics {
        let topic: Arc<str> = reader.string().ok_or(cut)?.into();
        let count = reader.count().ok_or(cut)?;
        if count > most - response.partitions.len() {
            return Err(TOO_MANY);
        }
        for _ in 0..count {
            let partition = partition(&mut reader, &topic, frame, version).ok_or(cut)?;
            response.partitions.push(partition);
        }
    }
    if reader.0.is_empty() {
        return Ok(response);
    }
    Err(Malformed("bytes are left over: it is of another version"))
}

/// Read what stands before the topics, and how many these are.
fn head(reader: &mut Reader<'_>, version: i16) -> Option<(Response, usize)> {
    let mut response = Response {
        correlation_id: reader.i32()?,
        throttle_ms: reader.i32()?,
        ..Response::default()
    };
    if version >= 7 {
        response.error_code = reader.i16()?;
        reader.i32()?; // session id: none was asked for
    }
    let topics = reader.count()?;
    Some((response, topics))
}

fn partition(
    reader: &mut Reader<'_>,
    topic: &Arc<str>,
    frame: &[u8],
    version: i16,
) -> Option<Partition> {
    let number = reader.i32()?;
    let error_code = reader.i16()?;
    let high_watermark = reader.i64()?;
    let last_stable_offset = reader.i64()?;
    let log_start_offset = if version >= 5 {
        reader.i64()?
    } else {
        UNKNOWN.into()
    };
    let count = reader.count()?;
    let aborted = reader.take(count.checked_mul(ABORTED_BYTES)?)?;
    let preferred_read_replica = if version >= 11 {
        reader.i32()?
    } else {
        UNKNOWN
    };
    let records = reader.bytes()?;
    let end = frame.len() - reader.0.len();
    let mut producers = HashSet::new();
    let whole = scan(records, |raw_batch| {
        if !aborted.is_empty() && raw_batch.is_transactional() {
            producers.insert(raw_batch.producer_id);
        }
    });
    Some(Partition {
        topic: Arc::clone(topic),
        partition: number,
        error_code,
        high_watermark,
        last_stable_offset,
        log_start_offset,
        preferred_read_replica,
        aborted: hiding(aborted, &producers, whole.next_offset),
        records: end - records.len()..end,
        whole,
    })
}

/// Read the aborted transactions, of which only those of these producers that begin before an offset are kept.
fn hiding(bytes: &[u8], producers: &HashSet<i64>, before: Option<i64>) -> Vec<AbortedTransaction> {
    let mut reader = Reader(bytes);
    let listed = std::iter::from_fn(|| {
        Some(AbortedTransaction {
            producer_id: reader.i64()?,
            first_offset: reader.i64()?,
        })
    });
    listed
        .filter(|one| producers.contains(&one.producer_id) && Some(one.first_offset) < before)
        .collect()
}

/// Walk over the headers of the batches, up to the first that is not whole or that the parser will refuse.
fn scan(mut records: &[u8], mut see: impl FnMut(&RawBatch<'_>)) -> Whole {
    let (mut whole, mut order) = (Whole::default(), Order::default());
    loop {
        match front(records) {
            Ok(Front::Whole(raw_batch)) if !order.allows(&raw_batch) => {
                return Whole {
                    misplaced: Some(raw_batch.base_offset),
                    ..whole
                };
            }
            Ok(Front::Whole(raw_batch)) => {
                let base_offset = raw_batch.base_offset;
                if whole.next_offset.is_some_and(|end| end != base_offset) {
                    whole.after_gap = Some(raw_batch.next_offset);
                }
                whole.base_offset = whole.base_offset.or(Some(base_offset));
                whole.next_offset = Some(raw_batch.next_offset);
                records = &records[raw_batch.size()..];
                order.pass(&raw_batch);
                see(&raw_batch);
            }
            Ok(Front::Old) => {
                return Whole {
                    old_format: true,
                    ..whole
                };
            }
            Ok(Front::Cut(size)) => {
                return Whole {
                    cut_batch_bytes: size,
                    ..whole
                };
            }
            Err(_) => return whole,
        }
    }
}
