//! The Fetch response, versions 4 to 11, around the record batches.

use std::ops::Range;
use std::sync::Arc;

use crate::batch::{Front, front};
use crate::error::Malformed;
use crate::reader::Reader;

/// The versions that are read here: with format v2, and before flexible fields and topic ids.
pub const VERSIONS: std::ops::RangeInclusive<i16> = 4..=11;
const UNKNOWN: i32 = -1;

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
    pub aborted: Vec<AbortedTransaction>,
    /// Where in the frame its batches are.
    pub records: Range<usize>,
    pub whole: Whole,
}

/// What of a partition's batches came whole, told from their headers alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Whole {
    /// The offset after the last whole batch.
    pub next_offset: Option<i64>,
    /// The size of the batch that was cut at the end.
    pub cut_batch_bytes: Option<usize>,
}

/// A response, without the batches' contents.
#[derive(Debug, Default)]
pub struct Response {
    pub correlation_id: i32,
    pub throttle_ms: i32,
    pub error_code: i16,
    pub partitions: Vec<Partition>,
}

/// Read a frame, whose first field is the correlation id.
pub fn parse(frame: &[u8], version: i16) -> Result<Response, Malformed> {
    let mut reader = Reader(frame);
    let response = response(&mut reader, frame.len(), version).ok_or(Malformed("it is cut"))?;
    if !reader.0.is_empty() {
        return Err(Malformed("bytes are left over: it is of another version"));
    }
    let scanned = response.partitions.into_iter().map(|partition| {
        let whole = scan(&frame[partition.records.clone()]);
        Partition { whole, ..partition }
    });
    Ok(Response {
        partitions: scanned.collect(),
        ..response
    })
}

fn response(reader: &mut Reader<'_>, frame_size: usize, version: i16) -> Option<Response> {
    let mut response = Response {
        correlation_id: reader.i32()?,
        throttle_ms: reader.i32()?,
        ..Response::default()
    };
    if version >= 7 {
        response.error_code = reader.i16()?;
        reader.i32()?; // session id: none was asked for
    }
    for _ in 0..reader.count()? {
        let topic: Arc<str> = reader.string()?.into();
        for _ in 0..reader.count()? {
            response
                .partitions
                .push(partition(reader, &topic, frame_size, version)?);
        }
    }
    Some(response)
}

fn partition(
    reader: &mut Reader<'_>,
    topic: &Arc<str>,
    frame_size: usize,
    version: i16,
) -> Option<Partition> {
    Some(Partition {
        topic: Arc::clone(topic),
        partition: reader.i32()?,
        error_code: reader.i16()?,
        high_watermark: reader.i64()?,
        last_stable_offset: reader.i64()?,
        log_start_offset: if version >= 5 {
            reader.i64()?
        } else {
            UNKNOWN.into()
        },
        aborted: aborted(reader)?,
        preferred_read_replica: if version >= 11 {
            reader.i32()?
        } else {
            UNKNOWN
        },
        records: {
            let length = reader.bytes()?.len();
            let end = frame_size - reader.0.len();
            end - length..end
        },
        whole: Whole::default(),
    })
}

fn aborted(reader: &mut Reader<'_>) -> Option<Vec<AbortedTransaction>> {
    let count = reader.count()?;
    (0..count)
        .map(|_| {
            Some(AbortedTransaction {
                producer_id: reader.i64()?,
                first_offset: reader.i64()?,
            })
        })
        .collect()
}

/// Walk over the headers of the batches, up to the first that is not whole or that the parser will refuse.
fn scan(mut records: &[u8]) -> Whole {
    let mut whole = Whole::default();
    loop {
        match front(records) {
            Ok(Front::Whole(raw_batch)) => {
                whole.next_offset = Some(raw_batch.next_offset);
                records = &records[raw_batch.size()..];
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
