//! What a schema registry's clients put in front of a value: a zero, the schema's id, and for Protobuf which message it is.

use std::collections::HashMap;

use arrow_array::BinaryArray;

/// The different fronts there are, the number of each row's, and what is wrong with the rows that have none.
#[derive(Debug, Default)]
pub struct Framed<'v> {
    pub fronts: Vec<&'v [u8]>,
    pub rows: Vec<Option<i32>>,
    pub errors: Vec<(usize, String)>,
}

const ID_BYTES: usize = 5;
/// A message in a file is at most so deep, and has at most so many before it; more is no sense.
const MOST_INDEXES: u64 = 100;
const IN_HEADERS: &str =
    "ids in headers, such as __value_schema_id or apicurio.value.globalId, are not supported";

/// Look at the front of every value.
pub fn split(values: &BinaryArray, indexes: bool) -> Framed<'_> {
    let mut framed = Framed::default();
    let mut numbers: HashMap<&[u8], i32> = HashMap::new();
    let mut last: (&[u8], i32) = (&[], 0);
    for (row, value) in values.iter().enumerate() {
        let Some(value) = value else {
            framed.rows.push(None);
            continue;
        };
        let front = match front(value, indexes) {
            Ok(front) => front,
            Err(error) => {
                framed.rows.push(None);
                framed.errors.push((row, error));
                continue;
            }
        };
        if last.0 != front {
            let next = crate::typed::end(framed.fronts.len());
            let number = *numbers.entry(front).or_insert(next);
            if number == next {
                framed.fronts.push(front);
            }
            last = (front, number);
        }
        framed.rows.push(Some(last.1));
    }
    framed
}

fn front(value: &[u8], indexes: bool) -> Result<&[u8], String> {
    match value {
        [0, rest @ ..] if rest.len() >= 4 => {}
        [0, ..] => {
            return Err(format!(
                "no schema id: the value ends before it ({IN_HEADERS})"
            ));
        }
        [] => return Err("no schema id: the value is empty".to_owned()),
        [first, ..] => {
            return Err(format!(
                "no schema id: the value begins with the byte {first:#04x}, not with 0 and four bytes ({IN_HEADERS})"
            ));
        }
    }
    let length = if indexes {
        ID_BYTES
            + indexes_length(&value[ID_BYTES..]).ok_or("no message index behind the schema id")?
    } else {
        ID_BYTES
    };
    Ok(&value[..length])
}

/// How long the list of indexes is that lead to the message.
fn indexes_length(bytes: &[u8]) -> Option<usize> {
    let (count, mut at) = varint(bytes)?;
    if count & 1 == 1 || count / 2 > MOST_INDEXES {
        return None;
    }
    for _ in 0..count / 2 {
        let (index, length) = varint(&bytes[at..])?;
        at += length;
        if index & 1 == 1 {
            return None;
        }
    }
    Some(at)
}

fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (number, byte) in bytes.iter().enumerate().take(9) {
        value |= u64::from(byte & 0x7f) << (7 * number);
        if *byte < 0x80 {
            return Some((value, number + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_the_number_of_its_front() {
        let values: Vec<Option<&[u8]>> = vec![
            Some(b"\x00\x00\x00\x00\x01abc"),
            Some(b"\x00\x00\x00\x00\x02"),
            None,
            Some(b"\x00\x00\x00\x00\x01"),
            Some(b"\x01\x00\x00\x00\x01"),
            Some(b"\x00\x00"),
            Some(b""),
        ];
        let values: BinaryArray = values.into_iter().collect();
        let framed = split(&values, false);
        assert_eq!(
            framed.fronts,
            [b"\x00\x00\x00\x00\x01", b"\x00\x00\x00\x00\x02"]
        );
        assert_eq!(
            framed.rows,
            [Some(0), Some(1), None, Some(0), None, None, None]
        );
        let rows: Vec<_> = framed.errors.iter().map(|(row, _)| *row).collect();
        assert_eq!(rows, [4, 5, 6]);
    }

    #[test]
    fn the_indexes_of_a_message_belong_to_its_front() {
        let values: Vec<&[u8]> = vec![
            b"\x00\x00\x00\x00\x01\x00\x08",
            b"\x00\x00\x00\x00\x01\x04\x02\x80\x02\x08",
            b"\x00\x00\x00\x00\x01",
            b"\x00\x00\x00\x00\x01\x01",
            b"\x00\x00\x00\x00\x01\x04\x02",
            b"\x00\x00\x00\x00\x01\xfe\xff\xff\xff\x0f",
        ];
        let values = BinaryArray::from_vec(values);
        let framed = split(&values, true);
        let fronts: [&[u8]; 2] = [
            b"\x00\x00\x00\x00\x01\x00",
            b"\x00\x00\x00\x00\x01\x04\x02\x80\x02",
        ];
        assert_eq!(framed.fronts, fronts);
        assert_eq!(framed.errors.len(), 4);
    }
}
