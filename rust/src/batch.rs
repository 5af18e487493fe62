//! Record batches of format v2: their headers, and their records into columns.

use std::ops::Range;

use crate::columns::Columns;
use crate::error::{BatchError, Fault};
use crate::reader::Reader;

/// Offset and length stand before what the length counts.
const LENGTH_END: usize = 12;
const MAGIC_AT: usize = 16;
const CHECKED_FROM: usize = 21;
const HEADER_BYTES: usize = 61;
/// No record is shorter: a byte each for length, attributes, two deltas, key, value and headers.
const SMALLEST_RECORD: usize = 7;
const NO_TIMESTAMP: i64 = -1;

/// What stands at the front of the bytes of a partition.
#[derive(Debug)]
pub enum Front<'a> {
    /// A whole batch.
    Whole(RawBatch<'a>),
    /// The response ended within a batch of this many bytes (if that was still to be read), or at the end of one.
    Cut(Option<usize>),
    /// Messages of format v0 or v1, which are not read here.
    Old,
}

/// Sees to it that the batches of one answer rise: their offsets stand outside of their checksums.
#[derive(Clone, Copy, Debug, Default)]
pub struct Order {
    /// Where the last batch has ended.
    lowest: i64,
}

impl Order {
    /// Read the header of the first batch, and check that it does not begin before the last has ended.
    pub fn front(self, data: &[u8]) -> Result<Front<'_>, BatchError> {
        let front = front(data)?;
        match &front {
            Front::Whole(raw_batch) if !self.allows(raw_batch) => Err(BatchError {
                base_offset: raw_batch.base_offset,
                fault: Fault::Corrupt("its offsets do not follow those of the batch before"),
            }),
            _ => Ok(front),
        }
    }

    /// Whether a batch can stand here.
    pub fn allows(self, raw_batch: &RawBatch<'_>) -> bool {
        self.lowest <= raw_batch.base_offset
    }

    /// Go behind a batch.
    pub fn pass(&mut self, raw_batch: &RawBatch<'_>) {
        self.lowest = raw_batch.next_offset;
    }
}

/// A batch whose header has been read and found possible, and nothing more.
#[derive(Debug)]
pub struct RawBatch<'a> {
    pub base_offset: i64,
    pub next_offset: i64,
    pub producer_id: i64,
    /// The payload as it came, compressed or not.
    pub payload: &'a [u8],
    attributes: i16,
    crc: u32,
    checked: &'a [u8],
    base_timestamp: i64,
    max_timestamp: i64,
    record_count: usize,
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    Abort,
    Commit,
}

/// How far the records of a batch have been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub bytes: usize,
    records: usize,
    /// The offset delta that the next record has at least: offsets rise.
    lowest_delta: i64,
}

/// Read the header of the first batch.
pub fn front(data: &[u8]) -> Result<Front<'_>, BatchError> {
    let mut reader = Reader(data);
    let (Some(base_offset), Some(length)) = (reader.i64(), reader.i32()) else {
        return Ok(Front::Cut(None));
    };
    let fail = |fault| Err(BatchError { base_offset, fault });
    let Ok(length) = usize::try_from(length) else {
        return fail(Fault::Corrupt("its length is negative"));
    };
    let size = LENGTH_END + length;
    let Some(bytes) = data.get(..size) else {
        return Ok(Front::Cut(Some(size)));
    };
    match bytes.get(MAGIC_AT) {
        Some(2) => {}
        Some(0 | 1) => return Ok(Front::Old),
        Some(&magic) => return fail(Fault::Magic(i8::from_be_bytes([magic]))),
        None => return fail(Fault::Corrupt("it is shorter than a header")),
    }
    parse(base_offset, bytes)
        .map(Front::Whole)
        .or_else(|reason| fail(Fault::Corrupt(reason)))
}

fn parse(base_offset: i64, bytes: &[u8]) -> Result<RawBatch<'_>, &'static str> {
    const SHORT: &str = "it is shorter than a header";
    let mut reader = Reader(bytes.get(MAGIC_AT + 1..).ok_or(SHORT)?);
    let payload = bytes.get(HEADER_BYTES..).ok_or(SHORT)?;
    let crc = reader.u32().ok_or(SHORT)?;
    let attributes = reader.i16().ok_or(SHORT)?;
    let last_offset_delta = reader.i32().ok_or(SHORT)?;
    let base_timestamp = reader.i64().ok_or(SHORT)?;
    let max_timestamp = reader.i64().ok_or(SHORT)?;
    let producer_id = reader.i64().ok_or(SHORT)?;
    reader.take(6).ok_or(SHORT)?; // the producer's epoch and sequence
    let record_count = reader.i32().ok_or(SHORT)?;
    let next_offset = base_offset
        .checked_add(i64::from(last_offset_delta))
        .and_then(|last| last.checked_add(1));
    Ok(RawBatch {
        base_offset,
        next_offset: next_offset
            .filter(|_| base_offset >= 0 && last_offset_delta >= 0)
            .ok_or("its offsets are impossible")?,
        producer_id,
        payload,
        attributes,
        crc,
        checked: &bytes[CHECKED_FROM..],
        base_timestamp,
        max_timestamp,
        record_count: usize::try_from(record_count).map_err(|_| "its record count is negative")?,
    })
}

impl RawBatch<'_> {
    /// Header and payload.
    pub fn size(&self) -> usize {
        HEADER_BYTES + self.payload.len()
    }

    /// How the payload is compressed, as Kafka numbers it.
    pub fn codec(&self) -> i16 {
        self.attributes & 0x07
    }

    fn takes_log_append_time(&self) -> bool {
        self.attributes & 0x08 != 0
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes & 0x10 != 0
    }

    /// Whether its records are markers of transactions, which nobody asked for.
    pub fn is_control(&self) -> bool {
        self.attributes & 0x20 != 0
    }

    pub fn check_crc(&self) -> Result<(), Fault> {
        if checksum(self.checked) == self.crc {
            return Ok(());
        }
        Err(Fault::Corrupt("its checksum does not match"))
    }

    /// Append the records of the decompressed payload whose offsets are in the range, at most so many bytes of
    /// them if that is one or more; tell whether these were the last. Room is made for so many bytes that are `alike`, so that columns rarely move.
    pub fn read_records(
        &self,
        payload: &[u8],
        progress: &mut Progress,
        range: Range<i64>,
        columns: &mut Columns,
        (most, alike): (usize, usize),
    ) -> Result<bool, Fault> {
        if payload.len() / SMALLEST_RECORD < self.record_count {
            return Err(Fault::Corrupt(
                "it has room for fewer records than it counts",
            ));
        }
        let record_size = (payload.len() / self.record_count.max(1)).max(1);
        columns.reserve(alike / record_size, alike);
        let done = self
            .append_records(payload, progress, range, columns, most)
            .ok_or(Fault::Corrupt(
                "a record contradicts its lengths, or its offset the others",
            ))?;
        columns.end_batch(if self.takes_log_append_time() { 2 } else { 1 });
        Ok(done)
    }

    fn append_records(
        &self,
        payload: &[u8],
        progress: &mut Progress,
        range: Range<i64>,
        columns: &mut Columns,
        most: usize,
    ) -> Option<bool> {
        let appended_at = self.takes_log_append_time().then_some(self.max_timestamp);
        let greatest_delta = self.next_offset - 1 - self.base_offset;
        let size = payload.len();
        let mut lowest_delta = progress.lowest_delta;
        let mut payload = Reader(&payload[progress.bytes..]);
        let enough = payload.0.len().saturating_sub(most);
        for records in progress.records..self.record_count {
            let bytes = size - payload.0.len();
            let length = usize::try_from(payload.varint()?).ok()?;
            let mut record = Reader(payload.take(length)?);
            if payload.0.len() < enough && records > progress.records {
                *progress = Progress {
                    bytes,
                    records,
                    lowest_delta,
                };
                return Some(false);
            }
            record.take(1)?; // attributes, unused
            let timestamp = self.base_timestamp.wrapping_add(record.varlong()?);
            let delta = i64::from(record.varint()?);
            if !(lowest_delta..=greatest_delta).contains(&delta) {
                return None;
            }
            lowest_delta = delta + 1;
            let offset = self.base_offset + delta;
            if offset < range.start {
                continue;
            }
            if offset >= range.end {
                return Some(true);
            }
            let key = nullable(&mut record)?;
            let value = nullable(&mut record)?;
            columns.push(offset, appended_at.unwrap_or(timestamp), key, value);
            columns.push_headers(record)?;
        }
        (self.record_count == 0 || payload.0.is_empty()).then_some(true)
    }

    /// How the payload of a control batch ends a transaction; compaction may have emptied it.
    pub fn marker(&self, payload: &[u8]) -> Result<Option<Marker>, Fault> {
        if self.record_count == 0 {
            return Ok(None);
        }
        match marker_type(payload) {
            Some(0) => Ok(Some(Marker::Abort)),
            Some(1) => Ok(Some(Marker::Commit)),
            Some(_) => Ok(None),
            None => Err(Fault::Corrupt("its transaction marker is cut")),
        }
    }
}

/// Read the type of the first control record.
fn marker_type(payload: &[u8]) -> Option<i16> {
    let mut payload = Reader(payload);
    payload.varint()?; // length
    payload.take(1)?; // attributes
    payload.varlong()?; // timestamp delta
    payload.varint()?; // offset delta
    let mut key = Reader(nullable(&mut payload)??);
    key.i16()?; // version
    key.i16()
}

/// Read bytes whose zig-zag length stands before them; below zero is null.
#[inline]
#[expect(
    clippy::option_option,
    reason = "the bytes are cut, or the value is null"
)]
pub fn nullable<'a>(reader: &mut Reader<'a>) -> Option<Option<&'a [u8]>> {
    match usize::try_from(reader.varint()?) {
        Ok(length) => reader.take(length).map(Some),
        Err(_) => Some(None),
    }
}

/// CRC-32C.
pub fn checksum(data: &[u8]) -> u32 {
    crc32c::crc32c(data)
}

/// Whether the timestamp says that there is none.
#[inline]
pub fn is_no_timestamp(timestamp: i64) -> bool {
    timestamp == NO_TIMESTAMP
}
