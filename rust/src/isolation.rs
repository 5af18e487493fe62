//! Which transactions were aborted, told batch by batch as the Java client does.

use std::collections::HashSet;

use crate::batch::RawBatch;
use crate::error::Fault;
use crate::response::AbortedTransaction;

/// The aborted transactions of one partition of one response.
#[derive(Debug, Default)]
pub struct Aborted {
    /// By falling first offset, so that the next one is the last.
    upcoming: Vec<AbortedTransaction>,
    producers: HashSet<i64>,
}

impl Aborted {
    pub fn new(transactions: &[AbortedTransaction]) -> Self {
        let mut upcoming = transactions.to_vec();
        upcoming.sort_unstable_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
        Self {
            upcoming,
            producers: HashSet::new(),
        }
    }

    /// Take note of the transactions that begin up to this batch, and tell whether it belongs to an aborted one.
    pub fn hides(&mut self, raw_batch: &RawBatch<'_>) -> bool {
        let begins = |next: &AbortedTransaction| next.first_offset < raw_batch.next_offset;
        while self.upcoming.last().is_some_and(begins) {
            self.producers
                .extend(self.upcoming.pop().map(|begun| begun.producer_id));
        }
        raw_batch.is_transactional() && self.producers.contains(&raw_batch.producer_id)
    }

    /// Take note of a control batch, which may end an aborted transaction.
    pub fn end_transaction(
        &mut self,
        raw_batch: &RawBatch<'_>,
        payload: &[u8],
    ) -> Result<(), Fault> {
        if raw_batch.aborts(payload)? {
            self.producers.remove(&raw_batch.producer_id);
        }
        Ok(())
    }
}
