//! The columns that records are appended to, in the layout that Arrow takes over without a copy.

use arrow_buffer::{BooleanBufferBuilder, NullBuffer};

use crate::batch::{is_no_timestamp, nullable};
use crate::reader::Reader;

/// What the names of the headers of a step may take.
const MOST_NAME_BYTES: usize = 512 << 20;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Which values are there; nothing is kept before the first null.
#[derive(Debug, Default)]
pub struct Validity(Option<BooleanBufferBuilder>);

impl Validity {
    #[inline]
    fn push_valid(&mut self) {
        if let Some(bits) = &mut self.0 {
            bits.append(true);
        }
    }

    #[cold]
    fn start(length: usize) -> BooleanBufferBuilder {
        let mut bits = BooleanBufferBuilder::new(length + 1024);
        bits.append_n(length, true);
        bits
    }

    fn push_null(&mut self, length: usize) {
        self.0
            .get_or_insert_with(|| Self::start(length))
            .append(false);
    }

    fn truncate(&mut self, length: usize) {
        if let Some(bits) = &mut self.0 {
            bits.truncate(length);
        }
    }

    pub fn finish(self) -> Option<NullBuffer> {
        self.0.map(|mut bits| NullBuffer::new(bits.finish()))
    }
}

/// A column of variable-length values.
#[derive(Debug)]
pub struct Bytes {
    pub ends: Vec<i32>,
    pub data: Vec<u8>,
    pub validity: Validity,
}

impl Default for Bytes {
    fn default() -> Self {
        Self {
            ends: vec![0],
            data: Vec::new(),
            validity: Validity::default(),
        }
    }
}

impl Bytes {
    #[inline]
    fn push(&mut self, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.data.extend_from_slice(value);
            self.validity.push_valid();
        } else {
            self.validity.push_null(self.ends.len() - 1);
        }
        self.end();
    }

    #[inline]
    fn end(&mut self) {
        // Payloads are refused above i32::MAX bytes, and only escapes could make more of them.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_possible_wrap,
            reason = "bounded by the batch limit"
        )]
        self.ends.push(self.data.len() as i32);
    }

    fn truncate(&mut self, length: usize) {
        self.ends.truncate(length + 1);
        self.data
            .truncate(usize::try_from(self.ends[length]).unwrap_or(0));
        self.validity.truncate(length);
    }
}

/// The column of headers: a list of names and values for each record.
#[derive(Debug)]
pub struct Headers {
    pub ends: Vec<i32>,
    pub keys: Bytes,
    pub values: Bytes,
}

impl Headers {
    fn push(&mut self, mut record: Reader<'_>) -> Option<()> {
        for _ in 0..usize::try_from(record.varint()?).ok()? {
            self.push_key(nullable(&mut record)??)?;
            self.values.push(nullable(&mut record)?);
        }
        self.ends
            .push(i32::try_from(self.keys.ends.len() - 1).ok()?);
        record.0.is_empty().then_some(())
    }

    /// Bytes that are not UTF-8 are legal in a name and shown as `\xNN`, which must not make much more of them.
    fn push_key(&mut self, key: &[u8]) -> Option<()> {
        let names = &mut self.keys.data;
        for chunk in key.utf8_chunks() {
            names.extend_from_slice(chunk.valid().as_bytes());
            for &byte in chunk.invalid() {
                let [high, low] = [byte >> 4, byte & 0xf].map(|digit| HEX[usize::from(digit)]);
                names.extend_from_slice(&[b'\\', b'x', high, low]);
            }
            (names.len() <= MOST_NAME_BYTES).then_some(())?;
        }
        self.keys.end();
        Some(())
    }

    fn truncate(&mut self, length: usize) {
        self.ends.truncate(length + 1);
        let headers = usize::try_from(self.ends[length]).unwrap_or(0);
        self.keys.truncate(headers);
        self.values.truncate(headers);
    }
}

/// Records as columns.
#[derive(Debug, Default)]
pub struct Columns {
    pub offsets: Vec<i64>,
    pub timestamps: Vec<i64>,
    pub timestamp_validity: Validity,
    pub timestamp_types: Vec<i8>,
    pub keys: Bytes,
    pub values: Bytes,
    pub headers: Option<Headers>,
}

impl Columns {
    pub fn new(headers: bool) -> Self {
        let headers = headers.then(|| Headers {
            ends: vec![0],
            keys: Bytes::default(),
            values: Bytes::default(),
        });
        Self {
            headers,
            ..Self::default()
        }
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Make room for records whose values take at most so many bytes.
    pub fn reserve(&mut self, records: usize, bytes: usize) {
        self.offsets.reserve(records);
        self.timestamps.reserve(records);
        self.timestamp_types.reserve(records);
        self.keys.ends.reserve(records);
        self.values.ends.reserve(records);
        self.values.data.reserve(bytes);
    }

    #[inline]
    pub fn push(&mut self, offset: i64, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
        if is_no_timestamp(timestamp) {
            self.timestamp_validity.push_null(self.offsets.len());
        } else {
            self.timestamp_validity.push_valid();
        }
        self.offsets.push(offset);
        self.timestamps.push(timestamp);
        self.keys.push(key);
        self.values.push(value);
    }

    /// Append the headers that end a record, if they were asked for.
    #[inline]
    pub fn push_headers(&mut self, record: Reader<'_>) -> Option<()> {
        match &mut self.headers {
            None => Some(()),
            Some(headers) => headers.push(record),
        }
    }

    /// Give the records appended since the last batch their kind of timestamp.
    pub fn end_batch(&mut self, timestamp_type: i8) {
        self.timestamp_types
            .resize(self.offsets.len(), timestamp_type);
    }

    /// Forget the records of a batch that turned out to be broken.
    pub fn truncate(&mut self, length: usize) {
        self.offsets.truncate(length);
        self.timestamps.truncate(length);
        self.timestamp_validity.truncate(length);
        self.timestamp_types.truncate(length);
        self.keys.truncate(length);
        self.values.truncate(length);
        if let Some(headers) = &mut self.headers {
            headers.truncate(length);
        }
    }
}
