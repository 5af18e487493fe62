//! Maps in which a key comes more than once: its last value counts, as for the formats' own readers.

use std::collections::HashSet;

use arrow_array::cast::AsArray;
use arrow_array::{Array, BooleanArray, StringArray, StructArray};
use arrow_buffer::Buffer;
use arrow_data::transform::MutableArrayData;
use arrow_schema::{ArrowError, DataType};

use crate::typed::end;

/// Up to so many entries are compared with each other.
const FEW: usize = 8;

/// Drop the entries whose key comes again in the same map, and tell where each map ends then.
pub fn last_of_each_key(
    ends: Vec<i32>,
    entries: &StructArray,
) -> Result<(Vec<i32>, StructArray), ArrowError> {
    let Some(keys) = entries.columns().first().and_then(|keys| Keys::of(&**keys)) else {
        return Ok((ends, entries.clone()));
    };
    let dropped = keys.that_come_again(&ends);
    if dropped.is_empty() {
        return Ok((ends, entries.clone()));
    }
    let data = entries.to_data();
    let mut kept = MutableArrayData::new(vec![&data], false, data.len() - dropped.len());
    let mut start = 0;
    for entry in dropped.iter().copied().chain([data.len()]) {
        kept.try_extend(0, start, entry)?;
        start = entry + 1;
    }
    let mut gone = dropped.iter().copied().peekable();
    let mut count = 0;
    let left = |old: i32| {
        let old = usize::try_from(old).unwrap_or(0);
        while gone.next_if(|entry| *entry < old).is_some() {
            count += 1;
        }
        end(old - count)
    };
    let ends = ends.into_iter().map(left).collect();
    Ok((ends, StructArray::from(kept.freeze())))
}

/// Keys as bytes, which are the same where the keys are.
enum Keys<'a> {
    Texts(&'a StringArray),
    Bits(&'a BooleanArray),
    Numbers(Buffer, usize),
}

impl<'a> Keys<'a> {
    fn of(array: &'a dyn Array) -> Option<Self> {
        match array.data_type() {
            DataType::Utf8 => array.as_string_opt().map(Self::Texts),
            DataType::Boolean => array.as_boolean_opt().map(Self::Bits),
            kind => {
                let width = kind.primitive_width()?;
                Some(Self::Numbers(
                    array.to_data().buffers().first()?.clone(),
                    width,
                ))
            }
        }
    }

    fn get(&self, entry: usize) -> &[u8] {
        match self {
            Self::Texts(texts) => texts.value(entry).as_bytes(),
            Self::Bits(bits) => &[[0], [1]][usize::from(bits.value(entry))],
            Self::Numbers(data, width) => &data[entry * width..(entry + 1) * width],
        }
    }

    fn that_come_again(&self, ends: &[i32]) -> Vec<usize> {
        let mut dropped = Vec::new();
        let mut seen = HashSet::new();
        for bounds in ends.windows(2) {
            let [start, end] = [bounds[0], bounds[1]].map(|end| usize::try_from(end).unwrap_or(0));
            if end - start <= FEW {
                let again = |entry: &usize| {
                    (entry + 1..end).any(|later| self.get(later) == self.get(*entry))
                };
                dropped.extend((start..end).filter(again));
                continue;
            }
            seen.clear();
            let first = dropped.len();
            dropped.extend(
                (start..end)
                    .rev()
                    .filter(|entry| !seen.insert(self.get(*entry))),
            );
            dropped[first..].reverse();
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::types::Int64Type;
    use arrow_array::{ArrayRef, Int64Array};
    use arrow_schema::{Field, Fields};

    use super::*;

    fn kept(keys: ArrayRef, ends: Vec<i32>) -> (Vec<i32>, Vec<i64>) {
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values(
            0..i64::try_from(keys.len()).unwrap(),
        ));
        let fields: Fields = vec![
            Field::new("key", keys.data_type().clone(), false),
            Field::new("value", DataType::Int64, true),
        ]
        .into();
        let (ends, entries) =
            last_of_each_key(ends, &StructArray::new(fields, vec![keys, values], None))
                .expect("few entries");
        (
            ends,
            entries
                .column(1)
                .as_primitive::<Int64Type>()
                .values()
                .to_vec(),
        )
    }

    #[test]
    fn of_a_key_that_comes_again_the_last_value_counts() {
        let texts = StringArray::from_iter_values(["a", "b", "a", "a", "c", "c"]);
        let (ends, values) = kept(Arc::new(texts), vec![0, 3, 3, 6]);
        assert_eq!((ends, values), (vec![0, 2, 2, 4], vec![1, 2, 3, 5]));
        let bits = BooleanArray::from(vec![true, true, false]);
        assert_eq!(kept(Arc::new(bits), vec![0, 3]), (vec![0, 2], vec![1, 2]));
    }

    #[test]
    fn long_maps_are_as_short_ones() {
        let numbers = Int64Array::from_iter_values((0..100).map(|number| number % 10));
        let (ends, values) = kept(Arc::new(numbers), vec![0, 50, 100]);
        assert_eq!(ends, [0, 10, 20]);
        assert_eq!(values, (40..50).chain(90..100).collect::<Vec<_>>());
    }
}
