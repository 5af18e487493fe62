//! Which transactions were aborted, told batch by batch as the Java client does.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::batch::{Marker, RawBatch};
use crate::error::Fault;
use crate::response::AbortedTransaction;

/// The producers with records of a transaction under way: those that have been shown, and those that have not. It is
/// kept from response to response, as a transaction may end in another than it begins in.
#[derive(Debug, Default)]
pub struct Seen {
    shown: HashSet<i64>,
    hidden: HashSet<i64>,
}

/// The aborted transactions of one partition of one response.
#[derive(Debug, Default)]
pub struct Aborted {
    /// By falling first offset, so that the next one is the last.
    upcoming: Vec<AbortedTransaction>,
    producers: HashSet<i64>,
    seen: Arc<Mutex<Seen>>,
}

impl Aborted {
    pub fn new(transactions: &[AbortedTransaction], seen: Arc<Mutex<Seen>>) -> Self {
        let mut upcoming = transactions.to_vec();
        upcoming.sort_unstable_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
        Self {
            upcoming,
            seen,
            ..Self::default()
        }
    }

    /// Take note of the transactions that begin up to this batch, and tell whether it belongs to an aborted one.
    pub fn hides(&mut self, raw_batch: &RawBatch<'_>) -> bool {
        let begins = |next: &AbortedTransaction| next.first_offset < raw_batch.next_offset;
        while self.upcoming.last().is_some_and(begins) {
            self.producers
                .extend(self.upcoming.pop().map(|begun| begun.producer_id));
        }
        if !raw_batch.is_transactional() {
            return false;
        }
        let hides = self.producers.contains(&raw_batch.producer_id);
        if !raw_batch.is_control() {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let producers = if hides {
                &mut seen.hidden
            } else {
                &mut seen.shown
            };
            producers.insert(raw_batch.producer_id);
        }
        hides
    }

    /// Take note of a control batch, which ends a transaction: it was aborted if and only if it was listed as such.
    pub fn end_transaction(
        &mut self,
        raw_batch: &RawBatch<'_>,
        payload: &[u8],
    ) -> Result<(), Fault> {
        let producer = &raw_batch.producer_id;
        let Some(marker) = raw_batch.marker(payload)? else {
            return Ok(());
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Seen { shown, hidden } = &mut *seen;
        let (agreed, contrary) = match marker {
            Marker::Abort => (hidden, &*shown),
            Marker::Commit => (shown, &*hidden),
        };
        if contrary.contains(producer) {
            return Err(Fault::Corrupt(
                "its marker contradicts the answer's list of aborted transactions",
            ));
        }
        agreed.remove(producer);
        if marker == Marker::Abort {
            self.producers.remove(producer);
        }
        Ok(())
    }
}
