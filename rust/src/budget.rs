//! How much memory and work the values of one step may cost: a few bytes of them can claim any number of cells.

use std::cell::Cell;

use arrow_array::{Array, BinaryArray};

/// Bytes that a step's columns may take whatever its values are, and those for each byte of the values.
const FREE: usize = 64 << 20;
const PER_BYTE: usize = 32;
/// How often what a step may take may be taken and given back by rows that fail.
const TURNS: usize = 16;

const SPENT: &str = "it makes far more cells than it has bytes, and the memory of a step is bounded: name fewer columns, \
                     or read it as bytes";

/// What is left for the columns of a step.
#[derive(Debug)]
pub struct Budget {
    room: Cell<usize>,
    work: Cell<usize>,
}

impl Budget {
    /// Begin with what values may take.
    pub fn of(values: &BinaryArray) -> Self {
        let ends = values.value_offsets();
        let bytes = match (ends.first(), ends.last()) {
            (Some(first), Some(last)) => usize::try_from(last - first).unwrap_or(0),
            _ => 0,
        };
        let room = FREE.saturating_add(bytes.saturating_mul(PER_BYTE));
        Self {
            room: Cell::new(room),
            work: Cell::new(room.saturating_mul(TURNS)),
        }
    }

    /// Take the room of so many bytes, if there is as much.
    #[inline]
    pub fn take(&self, bytes: usize) -> Result<(), &'static str> {
        self.work(bytes)?;
        self.room
            .set(self.room.get().checked_sub(bytes).ok_or(SPENT)?);
        Ok(())
    }

    /// Count work that takes about as long as to write so many bytes.
    #[inline]
    pub fn work(&self, bytes: usize) -> Result<(), &'static str> {
        self.work
            .set(self.work.get().checked_sub(bytes).ok_or(SPENT)?);
        Ok(())
    }

    /// How much room is left.
    pub fn room(&self) -> usize {
        self.room.get()
    }

    /// Have as much room again as before a row that was taken back.
    pub fn give_back(&self, room: usize) {
        self.room.set(room);
    }
}

/// What is wrong with which rows.
pub type Errors = Vec<(usize, String)>;

/// Refuse the values with these bytes in front: their columns would take more than a step may, even if all were null.
pub fn refused(values: &BinaryArray, front: &[u8], cell: usize) -> Errors {
    let rows = values.len();
    let why = format!(
        "its columns take {cell} bytes a row, which is too much for the {rows} rows that came together: name fewer columns"
    );
    let theirs = values
        .iter()
        .enumerate()
        .filter(|(_, value)| value.is_some_and(|value| value.starts_with(front)));
    theirs.map(|(row, _)| (row, why.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rows_give_back_was_work_all_the_same() {
        let budget = Budget::of(&BinaryArray::from_vec(vec![b"ab", b"c"]));
        let room = budget.room();
        assert_eq!(room, FREE + 3 * PER_BYTE);
        for _ in 0..TURNS {
            assert_eq!(budget.take(room), Ok(()));
            budget.give_back(room);
        }
        assert_eq!(budget.take(1), Err(SPENT));
    }

    #[test]
    fn a_slice_may_take_what_its_own_bytes_are_worth() {
        let values = BinaryArray::from_vec(vec![b"abcdefgh", b"c"]);
        assert_eq!(Budget::of(&values.slice(1, 1)).room(), FREE + PER_BYTE);
    }
}
