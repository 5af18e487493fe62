//! The batches of one partition to columns, a bounded step at a time.

use std::sync::{Arc, Mutex};

use crate::batch::{Front, Order, Progress, RawBatch};
use crate::columns::Columns;
use crate::compression::Decompressor;
use crate::error::{BatchError, Fault};
use crate::isolation::{Aborted, Seen};
use crate::response::AbortedTransaction;

/// Arrow's offsets have 32 bits.
const MOST_BYTES: usize = i32::MAX as usize;

/// Which records are asked for, and how.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub read_committed: bool,
    pub headers: bool,
    pub check_crcs: bool,
    pub max_step_bytes: usize,
    pub max_batch_bytes: usize,
}

impl Options {
    fn batch_limit(&self) -> usize {
        self.max_batch_bytes.min(MOST_BYTES)
    }

    fn step_limit(&self) -> usize {
        self.max_step_bytes.min(MOST_BYTES)
    }
}

/// Some records, and the offset below which all that was asked for has been given.
#[derive(Debug)]
pub struct Step {
    pub next_offset: i64,
    pub columns: Columns,
}

/// How far the batches of one partition have been read.
#[derive(Debug)]
pub struct Cursor {
    position: usize,
    next_offset: i64,
    end: i64,
    order: Order,
    aborted: Aborted,
    /// The size of the batch at `position`, which the decompressor holds since it was too much for the last step.
    held: Option<usize>,
    /// How much of that batch has been given, where it is too much for any step.
    given: Progress,
}

impl Cursor {
    /// Stand before the records with offsets in `start..end`.
    pub fn new(
        start: i64,
        end: i64,
        aborted: &[AbortedTransaction],
        seen: Arc<Mutex<Seen>>,
    ) -> Self {
        Self {
            position: 0,
            next_offset: start,
            end,
            order: Order::default(),
            aborted: Aborted::new(aborted, seen),
            held: None,
            given: Progress::default(),
        }
    }

    /// Whether it is known that no step follows.
    pub fn is_done(&self, records: &[u8]) -> bool {
        let front = self.order.front(&records[self.position..]);
        self.held.is_none() && matches!(front, Ok(Front::Cut(_) | Front::Old))
    }

    /// Read on; `None` when no whole batch is left.
    pub fn step(
        &mut self,
        records: &[u8],
        options: &Options,
        decompressor: &mut Decompressor,
    ) -> Result<Option<Step>, BatchError> {
        let mut columns = Columns::new(options.headers);
        let mut used = 0;
        let (from, given) = (self.position, self.given);
        while let Some(raw_batch) = self.next_batch(records, self.position == from)? {
            let kept = columns.len();
            let left = records.len() - self.position;
            match self.append(&raw_batch, used, left, options, decompressor, &mut columns) {
                Ok(Some(size)) => {
                    used += size;
                    self.position += raw_batch.size();
                    self.order.pass(&raw_batch);
                    self.held = None;
                    self.given = Progress::default();
                    self.next_offset = self.next_offset.max(raw_batch.next_offset);
                }
                Ok(None) => break,
                Err(_) if self.position > from => {
                    columns.truncate(kept); // what came before is whole; the next step tells of the error
                    break;
                }
                Err(fault) => {
                    return Err(BatchError {
                        base_offset: raw_batch.base_offset,
                        fault,
                    });
                }
            }
        }
        Ok(
            ((self.position, self.given) != (from, given)).then_some(Step {
                next_offset: self.next_offset,
                columns,
            }),
        )
    }

    /// Find the next batch of the range. A fault in its header is told only where the step has nothing to give.
    fn next_batch<'a>(
        &mut self,
        records: &'a [u8],
        first: bool,
    ) -> Result<Option<RawBatch<'a>>, BatchError> {
        match self.order.front(&records[self.position..]) {
            Ok(Front::Whole(raw_batch)) if raw_batch.base_offset < self.end => Ok(Some(raw_batch)),
            Ok(Front::Whole(raw_batch)) => {
                self.next_offset = self.next_offset.max(raw_batch.base_offset);
                self.position = records.len();
                Ok(None)
            }
            Err(error) if first => Err(error),
            Ok(Front::Cut(_) | Front::Old) | Err(_) => Ok(None),
        }
    }

    /// Append what is visible of a batch and tell its decompressed size, or that not all of it is for this step.
    fn append(
        &mut self,
        raw_batch: &RawBatch<'_>,
        used: usize,
        wire_bytes: usize,
        options: &Options,
        decompressor: &mut Decompressor,
        columns: &mut Columns,
    ) -> Result<Option<usize>, Fault> {
        if options.check_crcs && self.held.is_none() {
            raw_batch.check_crc()?;
        }
        let hidden =
            options.read_committed && raw_batch.producer_id >= 0 && self.aborted.hides(raw_batch);
        let control = raw_batch.is_control();
        let done_with = if control {
            !options.read_committed
        } else {
            hidden || self.given == Progress::default() && self.is_before(raw_batch)
        };
        if done_with {
            return Ok(Some(0));
        }
        let payload = self.payload(raw_batch, options, decompressor)?;
        if control {
            self.aborted.end_transaction(raw_batch, payload)?;
            return Ok(Some(0));
        }
        let (left, limit) = (payload.len() - self.given.bytes, options.step_limit());
        self.held = Some(payload.len());
        if used > 0 && used + left > limit {
            return Ok(None);
        }
        let alike = match columns.len() {
            0 => (wire_bytes / raw_batch.size())
                .saturating_mul(left)
                .min(limit),
            _ => left,
        };
        let range = self.next_offset..self.end;
        if raw_batch.read_records(payload, &mut self.given, range, columns, (limit, alike))? {
            return Ok(Some(left));
        }
        if let Some(last) = columns.offsets.last() {
            self.next_offset = last + 1;
        }
        Ok(None)
    }

    fn is_before(&self, raw_batch: &RawBatch<'_>) -> bool {
        raw_batch.next_offset <= self.next_offset
    }

    fn payload<'a>(
        &self,
        raw_batch: &RawBatch<'a>,
        options: &Options,
        decompressor: &'a mut Decompressor,
    ) -> Result<&'a [u8], Fault> {
        match (raw_batch.codec(), self.held) {
            (0, _) if raw_batch.payload.len() > options.batch_limit() => {
                Err(Fault::TooLarge(options.batch_limit()))
            }
            (0, _) => Ok(raw_batch.payload),
            (_, Some(length)) => Ok(decompressor.last(length)),
            (codec, None) => {
                decompressor.decompress(codec, raw_batch.payload, options.batch_limit())
            }
        }
    }
}
