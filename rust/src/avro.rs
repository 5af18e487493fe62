//! Avro's binary form to columns, as a plan says: made of the schema that wrote it and the one that reads it.

use arrow_array::{Array, BinaryArray};
use arrow_buffer::i256;

use crate::budget::{Budget, Errors, refused};
use crate::fault_of_row::Bad;
use crate::typed::{Column, Values};

/// What an item costs that takes no bytes, such as a null, and a record that is passed over: any number may be claimed.
const NO_BYTES: usize = 128;
const PASSED: usize = 8;
/// How deep a value that is passed over may be nested, where its schema holds itself.
const DEEPEST: usize = 200;

/// How to read one value, and what to make of it.
#[derive(Clone, Debug)]
pub enum Node {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    /// Bytes, or UTF-8, with their length in front.
    Bytes,
    Fixed(usize),
    /// A UUID's sixteen bytes, as text.
    Uuid,
    /// Months, days and milliseconds.
    Duration,
    /// An unscaled number: so many bytes, or as many as are said in front.
    Decimal(Option<usize>),
    /// The names by number; an empty one has no place in the column.
    Enum(Vec<Option<Box<[u8]>>>),
    Array(Box<Node>),
    Map(Box<Node>),
    Record(Record),
    Union(Vec<Node>),
    /// A value that goes into one of the columns of a struct, while the others stay null.
    Member(usize, Box<Node>),
    /// A value that nobody asked for, where a row has to be.
    Passed(Box<Node>),
    /// A value that has no place in the column, and why.
    Misfit(String),
    /// One of the plan's named schemas, to be passed over.
    Named(usize),
}

/// The fields in the order in which they were written, and where they go; and those that were not, with their bytes.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub fields: Vec<Field>,
    pub defaults: Vec<(usize, Node, Box<[u8]>)>,
}

#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    pub node: Node,
    /// Its number among the columns; none where nobody asked for it.
    pub column: Option<usize>,
}

/// How a topic's values are read: into one column, which is a struct where they are records.
#[derive(Debug)]
pub struct Plan {
    pub root: Node,
    pub named: Vec<Node>,
}

/// Append every value with these bytes in front to a column, null for others, and return what is wrong with which row.
///
/// # Errors
///
/// Even nulls would take more of the memory than a step may: there is no column then.
pub fn decode(
    values: &BinaryArray,
    front: &[u8],
    plan: &Plan,
    column: &mut Column,
) -> Result<Errors, Errors> {
    let budget = Budget::of(values);
    if budget
        .take(values.len().saturating_mul(column.cell()))
        .is_err()
    {
        return Err(refused(values, front, column.cell()));
    }
    let mut errors = Vec::new();
    for (row, value) in values.iter().enumerate() {
        let Some(value) = value.filter(|value| value.starts_with(front)) else {
            column.push_null();
            continue;
        };
        let mut input = Input {
            bytes: value,
            at: front.len(),
            budget: &budget,
            named: &plan.named,
            depth: 0,
        };
        let room = budget.room();
        let read = input.read(&plan.root, column);
        let left = value.len() - input.at;
        let read = match read {
            Ok(()) if left > 0 => Err(Bad::from(format!("{left} bytes too many"))),
            read => read,
        };
        if let Err(bad) = read {
            errors.push((row, bad.told(input.at)));
            budget.give_back(room);
            column.resize(row);
            column.push_null();
        }
    }
    Ok(errors)
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
    budget: &'a Budget,
    named: &'a [Node],
    depth: usize,
}

impl<'a> Input<'a> {
    /// Read a value and append it.
    fn read(&mut self, node: &Node, column: &mut Column) -> Result<(), Bad> {
        match node {
            Node::Null => {
                column.push_null();
                return Ok(());
            }
            Node::Union(branches) => {
                let branch = self.branch(branches)?;
                return self.read(branch, column);
            }
            Node::Passed(node) => {
                self.skip(node)?;
                column.push_null();
                return Ok(());
            }
            Node::Misfit(why) => return Err(why.clone().into()),
            _ => {}
        }
        match (node, &mut column.values) {
            (Node::Boolean, Values::Bool(bits)) => bits.append(self.boolean()?),
            (Node::Int, Values::I32(values)) => values.push(self.int()?),
            (Node::Int, Values::I64(values)) => values.push(self.int()?.into()),
            (Node::Int, Values::F32(values)) => values.push(nearest_f32(self.int()?.into())),
            (Node::Int, Values::F64(values)) => values.push(self.int()?.into()),
            (Node::Long, Values::I64(values)) => values.push(self.long()?),
            (Node::Long, Values::F32(values)) => values.push(nearest_f32(self.long()?)),
            (Node::Long, Values::F64(values)) => values.push(nearest(self.long()?)),
            (Node::Float, Values::F32(values)) => values.push(f32::from_le_bytes(self.some()?)),
            (Node::Float, Values::F64(values)) => {
                values.push(f32::from_le_bytes(self.some()?).into());
            }
            (Node::Double, Values::F64(values)) => values.push(f64::from_le_bytes(self.some()?)),
            (Node::Bytes, Values::Text(texts)) => {
                let value = self.sized()?;
                if std::str::from_utf8(value).is_err() {
                    self.at -= value.len();
                    return Err("text that is no UTF-8".into());
                }
                texts.push(value)?;
            }
            (Node::Bytes, Values::Binary(values)) => values.push(self.sized()?)?,
            (Node::Fixed(size), Values::Fixed(_, data)) => {
                data.extend_from_slice(self.take(*size)?);
            }
            (Node::Fixed(size), Values::Binary(values)) => values.push(self.take(*size)?)?,
            (Node::Uuid, Values::Text(texts)) => texts.push(&uuid(self.some()?))?,
            (Node::Decimal(size), Values::I128(values, digits)) => {
                let number = self.unscaled(*size)?;
                let most = 10_i128.pow((*digits).into());
                let fits = number
                    .to_i128()
                    .filter(|number| (-most < *number) && *number < most);
                values.push(fits.ok_or_else(|| too_long(*digits))?);
            }
            (Node::Decimal(size), Values::I256(values, digits)) => {
                let number = self.unscaled(*size)?;
                let most = i256::from(10).wrapping_pow((*digits).into());
                if number >= most || number <= -most {
                    return Err(too_long(*digits).into());
                }
                values.push(number);
            }
            (Node::Enum(names), Values::Text(texts)) => texts.push(self.kept_name(names)?)?,
            (Node::Duration, Values::Struct(parts)) => {
                for part in parts {
                    let Values::U32(values) = &mut part.values else {
                        return Err(FOREIGN.into());
                    };
                    values.push(u32::from_le_bytes(self.some()?));
                    part.took();
                }
            }
            (Node::Array(item), Values::List(ends, items)) => {
                self.blocks(items.cell(), |input| input.read(item, items))?;
                ends.push(crate::typed::end(items.len()));
            }
            (Node::Map(value), Values::List(ends, entries)) => {
                self.blocks(entries.cell(), |input| input.entry(value, entries))?;
                ends.push(crate::typed::end(entries.len()));
            }
            (Node::Record(record), Values::Struct(columns)) => self.record(record, columns)?,
            (Node::Member(number, node), Values::Struct(columns)) => {
                let member = columns.get_mut(*number).ok_or(FOREIGN)?;
                self.read(node, member)?;
                let length = column.len() + 1;
                let Values::Struct(columns) = &mut column.values else {
                    return Err(FOREIGN.into());
                };
                for other in columns {
                    if other.len() < length {
                        other.push_null();
                    }
                }
            }
            _ => return Err(FOREIGN.into()),
        }
        column.took();
        Ok(())
    }

    fn record(&mut self, record: &Record, columns: &mut [Column]) -> Result<(), Bad> {
        for field in &record.fields {
            let read = match field.column.and_then(|number| columns.get_mut(number)) {
                Some(column) => self.read(&field.node, column),
                None => self.skip(&field.node),
            };
            read.map_err(|bad| bad.within(&field.name))?;
        }
        for (number, node, bytes) in &record.defaults {
            self.budget.take(bytes.len())?;
            let mut input = Input {
                bytes,
                at: 0,
                ..*self
            };
            let column = columns.get_mut(*number).ok_or(FOREIGN)?;
            input.read(node, column)?;
        }
        Ok(())
    }

    fn entry(&mut self, value: &Node, entries: &mut Column) -> Result<(), Bad> {
        let Values::Struct(columns) = &mut entries.values else {
            return Err(FOREIGN.into());
        };
        let [keys, values] = &mut columns[..] else {
            return Err(FOREIGN.into());
        };
        self.read(&Node::Bytes, keys)?;
        self.read(value, values)?;
        entries.took();
        Ok(())
    }

    /// Go over a value.
    fn skip(&mut self, node: &Node) -> Result<(), Bad> {
        match node {
            Node::Null => {}
            Node::Boolean => drop(self.boolean()?),
            Node::Int => drop(self.int()?),
            Node::Long => drop(self.long()?),
            Node::Float => drop(self.take(4)?),
            Node::Double => drop(self.take(8)?),
            Node::Duration => drop(self.take(12)?),
            Node::Uuid => drop(self.take(16)?),
            Node::Bytes | Node::Decimal(None) => drop(self.sized()?),
            Node::Fixed(size) | Node::Decimal(Some(size)) => drop(self.take(*size)?),
            Node::Enum(names) => drop(self.name(names)?),
            Node::Array(item) => self.blocks(0, |input| input.skip(item))?,
            Node::Map(value) => self.blocks(0, |input| {
                input.sized()?;
                input.skip(value)
            })?,
            Node::Record(record) => {
                for field in &record.fields {
                    self.skip(&field.node)
                        .map_err(|bad| bad.within(&field.name))?;
                }
            }
            Node::Union(branches) => {
                let branch = self.branch(branches)?;
                self.skip(branch)?;
            }
            Node::Member(_, node) | Node::Passed(node) => self.skip(node)?,
            Node::Misfit(why) => return Err(why.clone().into()),
            Node::Named(number) => {
                if self.depth == DEEPEST {
                    return Err("nested deeper than 200 levels".into());
                }
                self.depth += 1;
                self.budget.work(PASSED)?;
                self.skip(self.named.get(*number).ok_or(FOREIGN)?)?;
                self.depth -= 1;
            }
        }
        Ok(())
    }

    /// Read the blocks of an array or a map, whose items take a cell of so many bytes each.
    fn blocks(
        &mut self,
        cell: usize,
        mut item: impl FnMut(&mut Self) -> Result<(), Bad>,
    ) -> Result<(), Bad> {
        loop {
            let count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                self.long()?; // the bytes of the block
            }
            // There are no more items than bytes, but for those that take none.
            let left = self.bytes.len() - self.at;
            let paid = usize::try_from(count.unsigned_abs()).map_or(left, |count| count.min(left));
            self.budget.take(paid.saturating_mul(cell))?;
            for _ in 0..count.unsigned_abs() {
                let start = self.at;
                item(self)?;
                if self.at == start {
                    self.budget.take(NO_BYTES + cell)?;
                }
            }
        }
    }

    fn branch<'n>(&mut self, branches: &'n [Node]) -> Result<&'n Node, Bad> {
        let start = self.at;
        let number = self.long()?;
        let found = usize::try_from(number).ok().and_then(|n| branches.get(n));
        found.ok_or_else(|| {
            self.at = start;
            format!("there is no branch {number} of {}", branches.len()).into()
        })
    }

    fn name<'n>(&mut self, names: &'n [Option<Box<[u8]>>]) -> Result<&'n [u8], Bad> {
        let start = self.at;
        let number = self.int()?;
        match usize::try_from(number).ok().and_then(|n| names.get(n)) {
            Some(Some(name)) => Ok(name),
            Some(None) => Err("a symbol that the reader's schema has not".into()),
            None => {
                self.at = start;
                Err(format!("there is no symbol {number} of {}", names.len()).into())
            }
        }
    }

    /// Read a symbol that goes into a column: its name can be longer than what stands for it by any factor.
    fn kept_name<'n>(&mut self, names: &'n [Option<Box<[u8]>>]) -> Result<&'n [u8], Bad> {
        let name = self.name(names)?;
        self.budget.take(name.len())?;
        Ok(name)
    }

    fn boolean(&mut self) -> Result<bool, Bad> {
        match self.some::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => {
                self.at -= 1;
                Err("a boolean that is neither 0 nor 1".into())
            }
        }
    }

    #[inline]
    fn int(&mut self) -> Result<i32, Bad> {
        let value = self.long()?;
        i32::try_from(value).map_err(|_| "an int of more than 32 bits".into())
    }

    #[inline]
    fn long(&mut self) -> Result<i64, Bad> {
        let value = match self.bytes.get(self.at) {
            Some(byte) if *byte < 0x80 => {
                self.at += 1;
                u64::from(*byte)
            }
            _ => self.long_varint()?,
        };
        #[expect(clippy::cast_possible_wrap, reason = "this is how the sign is laid")]
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn long_varint(&mut self) -> Result<u64, Bad> {
        let mut value = 0;
        let rest = &self.bytes[self.at..];
        for (number, byte) in rest.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * number);
            if *byte < 0x80 {
                if number == 9 && *byte > 1 {
                    break;
                }
                self.at += number + 1;
                return Ok(value);
            }
        }
        Err(if rest.len() < 10 {
            CUT
        } else {
            "a number of more than 64 bits"
        }
        .into())
    }

    #[inline]
    fn sized(&mut self) -> Result<&'a [u8], Bad> {
        let start = self.at;
        let length = self.long()?;
        let Ok(length) = usize::try_from(length) else {
            self.at = start;
            return Err("a length below zero".into());
        };
        self.take(length)
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], Bad> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..length).ok_or(CUT)?;
        self.at += length;
        Ok(taken)
    }

    #[inline]
    fn some<const N: usize>(&mut self) -> Result<[u8; N], Bad> {
        let taken = self.bytes[self.at..].first_chunk::<N>().ok_or(CUT)?;
        self.at += N;
        Ok(*taken)
    }

    fn unscaled(&mut self, size: Option<usize>) -> Result<i256, Bad> {
        let bytes = match size {
            Some(size) => self.take(size)?,
            None => self.sized()?,
        };
        let negative = bytes.first().is_some_and(|first| *first >= 0x80);
        let sign = if negative { 0xff } else { 0 };
        let extra = bytes.len().saturating_sub(32);
        let (high, low) = bytes.split_at(extra);
        let kept = low.first().is_none_or(|first| (first ^ sign) < 0x80);
        if !kept || high.iter().any(|byte| *byte != sign) {
            return Err("a decimal of more than 32 bytes".into());
        }
        let mut whole = [sign; 32];
        whole[32 - low.len()..].copy_from_slice(low);
        Ok(i256::from_be_bytes(whole))
    }
}

const CUT: &str = "it ends too early";
/// A plan that does not fit its columns: a fault of the program, told as that of the row.
const FOREIGN: &str = "the plan does not fit the columns";

fn too_long(digits: u8) -> String {
    format!("a decimal of more than {digits} digits")
}

#[expect(
    clippy::cast_precision_loss,
    reason = "asked for by the reader's schema"
)]
fn nearest(value: i64) -> f64 {
    value as f64
}

#[expect(
    clippy::cast_precision_loss,
    reason = "asked for by the reader's schema"
)]
fn nearest_f32(value: i64) -> f32 {
    value as f32
}

fn uuid(bytes: [u8; 16]) -> [u8; 36] {
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (number, byte) in bytes.iter().enumerate() {
        if matches!(number, 4 | 6 | 8 | 10) {
            at += 1;
        }
        for digit in [byte >> 4, byte & 15] {
            text[at] = b"0123456789abcdef"[usize::from(digit)];
            at += 1;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Int32Type, Int64Type};
    use arrow_schema::{DataType, Field as ArrowField};
    use proptest::prelude::*;

    use super::*;

    fn column(kinds: &[DataType]) -> Column {
        let field = |(number, kind): (usize, &DataType)| {
            ArrowField::new(number.to_string(), kind.clone(), true)
        };
        let fields = kinds.iter().enumerate().map(field).collect();
        Column::new(&DataType::Struct(fields)).expect("types that are known")
    }

    fn list(item: DataType) -> DataType {
        DataType::List(ArrowField::new("item", item, true).into())
    }

    fn record(nodes: Vec<Node>) -> Node {
        let field = |(number, node)| Field {
            name: number_name(number),
            node,
            column: Some(number),
        };
        Node::Record(Record {
            fields: nodes.into_iter().enumerate().map(field).collect(),
            defaults: Vec::new(),
        })
    }

    fn number_name(number: usize) -> String {
        format!("f{number}")
    }

    fn plan(root: Node) -> Plan {
        Plan {
            root,
            named: Vec::new(),
        }
    }

    #[test]
    fn a_broken_row_leaves_no_trace() {
        let plan = plan(record(vec![
            Node::Long,
            Node::Array(Box::new(Node::Union(vec![Node::Null, Node::Int]))),
        ]));
        let mut made = column(&[DataType::Int64, list(DataType::Int32)]);
        let good: &[u8] = b"\x02\x04\x02\x06\x00\x00";
        let values =
            BinaryArray::from_opt_vec(vec![Some(good), Some(&good[..4]), None, Some(good)]);
        let errors = decode(&values, b"", &plan, &mut made).expect("few columns");
        assert_eq!(
            errors,
            [(1, "field \"f1\": it ends too early, at byte 4".to_owned())]
        );
        let rows = made.finish(4).expect("columns as long as the values");
        let rows = rows.as_struct();
        let numbers = rows.column(0).as_primitive::<Int64Type>();
        assert_eq!(
            numbers.iter().collect::<Vec<_>>(),
            [Some(1), None, None, Some(1)]
        );
        let lists = rows.column(1).as_list::<i32>();
        assert_eq!(lists.value_offsets(), [0, 2, 2, 2, 4]);
        let items = lists.values().as_primitive::<Int32Type>();
        assert_eq!(
            items.iter().collect::<Vec<_>>(),
            [Some(3), None, Some(3), None]
        );
    }

    #[test]
    fn values_with_another_front_are_null() {
        let mut made = column(&[DataType::Int32]);
        let values = BinaryArray::from_vec(vec![b"\x00\x01\x02", b"\x00\x02\x02", b"\x00"]);
        let errors = decode(
            &values,
            b"\x00\x01",
            &plan(record(vec![Node::Int])),
            &mut made,
        );
        assert_eq!(errors, Ok(vec![]));
        let rows = made.finish(3).expect("columns as long as the values");
        let numbers = rows.as_struct().column(0).as_primitive::<Int32Type>();
        assert_eq!(numbers.iter().collect::<Vec<_>>(), [Some(1), None, None]);
    }

    proptest! {
        #[test]
        fn any_bytes_make_columns_as_long_as_the_values(
            values in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..24)), 0..8),
        ) {
            let nodes = vec![
                Node::Union(vec![Node::Null, Node::Bytes]),
                Node::Array(Box::new(Node::Null)),
                Node::Decimal(None),
                Node::Enum(vec![Some((*b"A").into()), None]),
                Node::Double,
            ];
            let kinds = [DataType::Utf8, list(DataType::Null), DataType::Decimal128(5, 2), DataType::Utf8, DataType::Float64];
            let mut made = column(&kinds);
            let values: BinaryArray = values.iter().map(Option::as_deref).collect();
            let errors = decode(&values, b"", &plan(record(nodes)), &mut made).expect("few columns");
            let rows = made.finish(values.len()).expect("columns as long as the values");
            prop_assert_eq!(rows.len(), values.len());
            for (row, _) in errors {
                prop_assert!(rows.is_null(row) && values.is_valid(row));
            }
        }
    }
}
