//! Protobuf's wire form to columns, as a plan says. Fields come in any order, and more than once: columns are filled up later.

use arrow_array::{Array, BinaryArray};

use crate::budget::{Budget, Errors, refused};
use crate::fault_of_row::Bad;
use crate::times::Times;
use crate::typed::{Absent, Column, Values, cell_of};

/// How deep unknown groups may be nested, as in Protobuf's own parsers.
const DEEPEST: usize = 100;
const CUT: &str = "it ends too early";
/// A plan that does not fit its columns: a fault of the program, told as that of the row.
const FOREIGN: &str = "the plan does not fit the columns";
/// What it costs to look whether a field has a value.
const LOOK: usize = 8;

/// How values are read; what they become is the column's to say.
#[derive(Clone, Debug)]
pub enum Kind {
    Bool,
    Varint,
    Zigzag,
    Fixed32,
    Fixed64,
    /// Bytes or text.
    Bytes,
    Enum(Names),
    Message(Message),
    /// Seconds and nanoseconds, since an epoch or not.
    Time,
    /// A message of one value, which stands for it.
    Wrapper(Box<Kind>),
    /// Fields between two tags, which are passed over.
    Group,
}

/// The names of an enumeration's numbers, in the order of these.
#[derive(Clone, Debug)]
pub struct Names {
    pub names: Vec<(i32, Box<[u8]>)>,
    /// Whether other numbers are as if they were not there.
    pub closed: bool,
}

/// The wanted fields in the order of their numbers.
#[derive(Clone, Debug, Default)]
pub struct Message {
    pub fields: Vec<Field>,
    /// Columns of which at most one has a value in a row.
    pub oneofs: Vec<Vec<usize>>,
    /// Whether it is a key and a value of a map.
    pub is_entry: bool,
}

#[derive(Clone, Debug)]
pub struct Field {
    pub number: u32,
    pub name: String,
    /// Its number among the columns; none where it is passed over, and only ends what others of its oneof had.
    pub column: Option<usize>,
    pub kind: Kind,
    pub repeated: bool,
    pub absent: Absent,
    /// The number of the oneof that it is in.
    pub oneof: Option<usize>,
}

/// Append every value with these bytes in front to columns, null for others, and return what is wrong with which row.
///
/// # Errors
///
/// Even nulls would take more of the memory than a step may: there are no columns then.
pub fn decode(
    values: &BinaryArray,
    front: &[u8],
    message: &Message,
    columns: &mut [Column],
) -> Result<Errors, Errors> {
    prepare(message, columns);
    let (budget, cell) = (Budget::of(values), cell_of(columns));
    if budget.take(values.len().saturating_mul(cell)).is_err() {
        return Err(refused(values, front, cell));
    }
    let mut errors = Vec::new();
    for (row, value) in values.iter().enumerate() {
        if let Some(bytes) = value.filter(|value| value.starts_with(front)) {
            let mut input = Input {
                bytes,
                at: front.len(),
                end: bytes.len(),
                budget: &budget,
            };
            let room = budget.room();
            let Err(bad) = input.message(message, columns, row) else {
                continue;
            };
            errors.push((row, bad.told(input.at)));
            budget.give_back(room);
        }
        for column in &mut *columns {
            column.resize(row);
            column.push_null();
        }
    }
    Ok(errors)
}

/// Tell columns what stands in them where a message has no such field.
fn prepare(message: &Message, columns: &mut [Column]) {
    for field in &message.fields {
        let Some(column) = field.column.and_then(|number| columns.get_mut(number)) else {
            continue;
        };
        column.absent = field.absent.clone();
        match &mut column.values {
            Values::List(_, items) => prepare_value(&field.kind, items),
            _ => prepare_value(&field.kind, column),
        }
        column.measure();
    }
}

fn prepare_value(kind: &Kind, column: &mut Column) {
    match (kind, &mut column.values) {
        (Kind::Message(message), Values::Struct(columns)) => prepare(message, columns),
        (Kind::Time, Values::I64(_)) => {
            column.values = Values::Times(Times::of(column.data_type()));
        }
        _ => {}
    }
    column.measure();
}

impl Kind {
    fn wire_type(&self) -> u8 {
        match self {
            Self::Bool | Self::Varint | Self::Zigzag | Self::Enum(_) => 0,
            Self::Fixed64 => 1,
            Self::Group => 3,
            Self::Bytes | Self::Message(_) | Self::Time | Self::Wrapper(_) => 2,
            Self::Fixed32 => 5,
        }
    }
}

impl Message {
    /// Find a field; mostly it is the next one, or the same again.
    #[inline]
    fn find(&self, number: u32, next: usize) -> Option<usize> {
        for guess in [next, next.wrapping_sub(1)] {
            if self
                .fields
                .get(guess)
                .is_some_and(|field| field.number == number)
            {
                return Some(guess);
            }
        }
        let found = self
            .fields
            .binary_search_by_key(&number, |field| field.number);
        found.ok()
    }
}

/// A place in a value, and the end of the message that it is in.
struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
    budget: &'a Budget,
}

impl<'a> Input<'a> {
    /// Read a message's fields into a row, and tell whether it has all that it has to: an entry of a map is dropped
    /// where a part of it is not known.
    fn message(
        &mut self,
        message: &Message,
        columns: &mut [Column],
        row: usize,
    ) -> Result<bool, Bad> {
        let (mut next, mut all) = (0, true);
        while self.at < self.end {
            let (number, wire_type) = self.tag()?;
            let Some(found) = message.find(number, next) else {
                self.skip(number, wire_type, 0)?;
                all = false;
                continue;
            };
            next = found + 1;
            let field = &message.fields[found];
            let read = self.field(message, field, wire_type, columns, row);
            all &= read.map_err(|bad| bad.within(&field.name))?;
        }
        Ok(all || !message.is_entry)
    }

    fn field(
        &mut self,
        message: &Message,
        field: &Field,
        wire_type: u8,
        columns: &mut [Column],
        row: usize,
    ) -> Result<bool, Bad> {
        let kind = &field.kind;
        let Some(number) = field.column else {
            self.skip(field.number, wire_type, 0)?;
            if wire_type == kind.wire_type() {
                self.end_rivals(message, field, columns, row)?;
            }
            return Ok(false);
        };
        let column = columns.get_mut(number).ok_or(FOREIGN)?;
        if field.repeated {
            column.seek(row);
            let Values::List(_, items) = &mut column.values else {
                return Err(FOREIGN.into());
            };
            if wire_type == kind.wire_type() {
                return self.item(kind, items);
            }
            if wire_type == 2 {
                return self.within(|input| {
                    while input.at < input.end {
                        input.item(kind, items)?;
                    }
                    Ok(true)
                });
            }
        }
        if wire_type != kind.wire_type() {
            self.skip(field.number, wire_type, 0)?;
            return Ok(false);
        }
        // One that comes again is read into the same row.
        if column.len() != row + 1 {
            column.seek(row);
        }
        let kept = self.value(kind, column, row)?;
        if kept {
            self.end_rivals(message, field, columns, row)?;
        }
        Ok(kept)
    }

    /// Forget what other fields of a oneof had.
    fn end_rivals(
        &self,
        message: &Message,
        field: &Field,
        columns: &mut [Column],
        row: usize,
    ) -> Result<(), Bad> {
        let Some(oneof) = field.oneof else {
            return Ok(());
        };
        let rivals = message.oneofs.get(oneof).ok_or(FOREIGN)?;
        self.budget.work(LOOK * rivals.len())?;
        for number in rivals {
            let rival = columns.get_mut(*number).ok_or(FOREIGN)?;
            if Some(*number) != field.column && rival.len() > row {
                self.budget.work(rival.cell())?;
                rival.resize(row);
            }
        }
        Ok(())
    }

    /// Read an item; the entry of a map that is not kept whole is none.
    fn item(&mut self, kind: &Kind, items: &mut Column) -> Result<bool, Bad> {
        let number = items.len();
        self.budget.take(items.cell())?;
        let kept = self.value(kind, items, number)?;
        if !kept && matches!(kind, Kind::Message(message) if message.is_entry) {
            items.resize(number);
        }
        Ok(true)
    }

    /// Read a value into a row, which may have one already.
    fn value(&mut self, kind: &Kind, column: &mut Column, row: usize) -> Result<bool, Bad> {
        match kind {
            Kind::Message(message) => {
                let Values::Struct(columns) = &mut column.values else {
                    return Err(FOREIGN.into());
                };
                let kept = self.within(|input| input.message(message, columns, row))?;
                if column.len() == row {
                    column.took();
                }
                return Ok(kept);
            }
            Kind::Time => return self.time(column, row),
            Kind::Wrapper(kind) => {
                if column.len() == row {
                    column.push_zero();
                }
                return self.within(|input| input.wrapped(kind, column, row));
            }
            Kind::Enum(names) => {
                let number = low_i32(self.varint()?);
                return name(names, number, column, row, self.budget);
            }
            _ => {}
        }
        column.seek(row);
        match (kind, &mut column.values) {
            (Kind::Bool, Values::Bool(bits)) => bits.append(self.varint()? != 0),
            (Kind::Varint, Values::I32(values)) => values.push(low_i32(self.varint()?)),
            (Kind::Varint, Values::U32(values)) => values.push(low_u32(self.varint()?)),
            (Kind::Varint, Values::I64(values)) => values.push(self.varint()?.cast_signed()),
            (Kind::Varint, Values::U64(values)) => values.push(self.varint()?),
            (Kind::Zigzag, Values::I32(values)) => {
                let value = low_u32(self.varint()?);
                values.push((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
            (Kind::Zigzag, Values::I64(values)) => {
                let value = self.varint()?;
                values.push((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
            (Kind::Fixed32, Values::I32(values)) => values.push(i32::from_le_bytes(self.some()?)),
            (Kind::Fixed32, Values::U32(values)) => values.push(u32::from_le_bytes(self.some()?)),
            (Kind::Fixed32, Values::F32(values)) => values.push(f32::from_le_bytes(self.some()?)),
            (Kind::Fixed64, Values::I64(values)) => values.push(i64::from_le_bytes(self.some()?)),
            (Kind::Fixed64, Values::U64(values)) => values.push(u64::from_le_bytes(self.some()?)),
            (Kind::Fixed64, Values::F64(values)) => values.push(f64::from_le_bytes(self.some()?)),
            (Kind::Bytes, Values::Binary(values)) => values.push(self.sized()?)?,
            (Kind::Bytes, Values::Text(texts)) => {
                let value = self.sized()?;
                if std::str::from_utf8(value).is_err() {
                    self.at -= value.len();
                    return Err("text that is no UTF-8".into());
                }
                texts.push(value)?;
            }
            _ => return Err(FOREIGN.into()),
        }
        column.took();
        Ok(true)
    }

    fn wrapped(&mut self, kind: &Kind, column: &mut Column, row: usize) -> Result<bool, Bad> {
        while self.at < self.end {
            match self.tag()? {
                (1, wire_type) if wire_type == kind.wire_type() => {
                    self.value(kind, column, row)?;
                }
                (number, wire_type) => self.skip(number, wire_type, 0)?,
            }
        }
        Ok(true)
    }

    /// Read the parts of a time, which may add to one that is there.
    fn time(&mut self, column: &mut Column, row: usize) -> Result<bool, Bad> {
        let (mut seconds, mut nanos) = match &column.values {
            Values::Times(times) if column.len() > row => times.last(),
            _ => (0, 0),
        };
        self.within(|input| {
            while input.at < input.end {
                match input.tag()? {
                    (1, 0) => seconds = input.varint()?.cast_signed(),
                    (2, 0) => nanos = low_i32(input.varint()?),
                    (number, wire_type) => input.skip(number, wire_type, 0)?,
                }
            }
            Ok(true)
        })?;
        column.seek(row);
        let Values::Times(times) = &mut column.values else {
            return Err(FOREIGN.into());
        };
        times.push(seconds, nanos)?;
        column.took();
        Ok(true)
    }

    /// Read what has its length in front.
    fn within<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Bad>) -> Result<T, Bad> {
        let length = self.length()?;
        let outer = std::mem::replace(&mut self.end, self.at + length);
        let value = read(self)?;
        self.end = outer;
        Ok(value)
    }

    /// Go over a field that nobody knows.
    fn skip(&mut self, number: u32, wire_type: u8, depth: usize) -> Result<(), Bad> {
        match wire_type {
            0 => drop(self.varint()?),
            1 => drop(self.some::<8>()?),
            2 => drop(self.sized()?),
            3 => {
                if depth == DEEPEST {
                    return Err("groups nested deeper than 100 levels".into());
                }
                loop {
                    match self.tag()? {
                        (other, 4) if other == number => break,
                        (other, wire_type) => self.skip(other, wire_type, depth + 1)?,
                    }
                }
            }
            4 => return Err("the end of a group that did not begin".into()),
            5 => drop(self.some::<4>()?),
            _ => return Err(format!("a wire type {wire_type}, which there is not").into()),
        }
        Ok(())
    }

    #[inline]
    fn tag(&mut self) -> Result<(u32, u8), Bad> {
        let start = self.at;
        let tag = self.short("a tag of more than 32 bits")?;
        let number = tag >> 3;
        if number == 0 {
            self.at = start;
            return Err("a field of the number 0".into());
        }
        Ok((number, (tag & 7) as u8))
    }

    fn length(&mut self) -> Result<usize, Bad> {
        let length = self.short("a length of more than 32 bits")? as usize;
        if length > self.end - self.at {
            return Err(CUT.into());
        }
        Ok(length)
    }

    /// Read a number that has at most five bytes and 32 bits.
    #[inline]
    fn short(&mut self, too_long: &'static str) -> Result<u32, Bad> {
        let start = self.at;
        let value = self.varint()?;
        if self.at - start <= 5
            && let Ok(value) = u32::try_from(value)
        {
            return Ok(value);
        }
        self.at = start;
        Err(too_long.into())
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Bad> {
        let rest = &self.bytes[self.at..self.end];
        if let Some(byte) = rest.first()
            && *byte < 0x80
        {
            self.at += 1;
            return Ok(u64::from(*byte));
        }
        let mut value = 0;
        for (number, byte) in rest.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * number);
            if *byte < 0x80 {
                self.at += number + 1;
                return Ok(value);
            }
        }
        let long = rest.len() >= 10;
        Err(if long {
            "a number of more than 64 bits"
        } else {
            CUT
        }
        .into())
    }

    #[inline]
    fn sized(&mut self) -> Result<&'a [u8], Bad> {
        let length = self.length()?;
        let start = self.at;
        self.at += length;
        Ok(&self.bytes[start..self.at])
    }

    #[inline]
    fn some<const N: usize>(&mut self) -> Result<[u8; N], Bad> {
        let rest = &self.bytes[self.at..self.end];
        let taken = rest.first_chunk::<N>().ok_or(CUT)?;
        self.at += N;
        Ok(*taken)
    }
}

/// Append a number's name, or its digits where it has none.
fn name(
    names: &Names,
    number: i32,
    column: &mut Column,
    row: usize,
    budget: &Budget,
) -> Result<bool, Bad> {
    let found = names.names.binary_search_by_key(&number, |named| named.0);
    if found.is_err() && names.closed {
        return Ok(false);
    }
    column.seek(row);
    let Values::Text(texts) = &mut column.values else {
        return Err(FOREIGN.into());
    };
    match found {
        Ok(found) => {
            let name = &names.names[found].1;
            budget.take(name.len())?;
            texts.push(name)?;
        }
        Err(_) => texts.push(number.to_string().as_bytes())?,
    }
    column.took();
    Ok(true)
}

#[expect(clippy::cast_possible_truncation, reason = "as Protobuf has it")]
fn low_u32(value: u64) -> u32 {
    value as u32
}

fn low_i32(value: u64) -> i32 {
    low_u32(value).cast_signed()
}

#[cfg(test)]
mod tests {
    use arrow_array::ArrayRef;
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int32Type;
    use arrow_schema::{DataType, Field as ArrowField, Fields};
    use proptest::prelude::*;

    use super::*;

    fn field(number: u32, column: usize, kind: Kind) -> Field {
        Field {
            number,
            name: format!("f{number}"),
            column: Some(column),
            kind,
            repeated: false,
            absent: Absent::Null,
            oneof: None,
        }
    }

    /// A number, a list of numbers, and either a text or a message of the first two.
    fn message(depth: usize) -> (Message, Fields) {
        let mut fields = vec![
            field(1, 0, Kind::Varint),
            Field {
                repeated: true,
                absent: Absent::Zero,
                ..field(2, 1, Kind::Zigzag)
            },
        ];
        let item = ArrowField::new("item", DataType::Int32, true);
        let mut kinds = vec![DataType::Int32, DataType::List(item.into())];
        if depth > 0 {
            let (inner, inside) = message(depth - 1);
            let (text, inner) = (Kind::Bytes, Kind::Message(inner));
            for (number, column, kind) in [(3, 2, text), (4, 3, inner)] {
                fields.push(Field {
                    oneof: Some(0),
                    ..field(number, column, kind)
                });
            }
            kinds.extend([DataType::Utf8, DataType::Struct(inside)]);
        }
        let named =
            |(number, kind): (usize, DataType)| ArrowField::new(number.to_string(), kind, true);
        let message = Message {
            fields,
            oneofs: vec![vec![2, 3]],
            is_entry: false,
        };
        (message, kinds.into_iter().enumerate().map(named).collect())
    }

    fn decoded(values: &[Option<&[u8]>]) -> (Vec<ArrayRef>, Vec<(usize, String)>) {
        let (message, fields) = message(2);
        let mut columns = Column::all(&fields).expect("types that are known");
        let values: BinaryArray = values.iter().copied().collect();
        let errors = decode(&values, b"", &message, &mut columns).expect("few columns");
        let finished =
            |column: Column| column.finish(values.len()).expect("columns that are whole");
        (columns.into_iter().map(finished).collect(), errors)
    }

    #[test]
    fn the_last_of_a_kind_counts_and_lists_go_on() {
        let value: &[u8] =
            b"\x08\x01\x12\x02\x02\x04\x1a\x01x\x08\x02\x10\x06\x22\x02\x08\x05\x22\x02\x10\x08";
        let (columns, errors) = decoded(&[Some(value), None, Some(b"\x1a\x01y"), Some(b"\x08")]);
        assert_eq!(
            errors,
            [(3, "field \"f1\": it ends too early, at byte 1".to_owned())]
        );
        let numbers = columns[0].as_primitive::<Int32Type>();
        assert_eq!(
            numbers.iter().collect::<Vec<_>>(),
            [Some(2), None, None, None]
        );
        let lists = columns[1].as_list::<i32>();
        assert_eq!(lists.value_offsets(), [0, 3, 3, 3, 3]);
        assert_eq!(
            lists.nulls().map(|nulls| nulls.iter().collect()),
            Some(vec![true, false, true, false])
        );
        assert_eq!(
            columns[2].as_string::<i32>().iter().collect::<Vec<_>>(),
            [None, None, Some("y"), None]
        );
        let inner = columns[3].as_struct();
        assert_eq!(inner.column(0).as_primitive::<Int32Type>().value(0), 5);
        assert_eq!(
            inner.column(1).as_list::<i32>().value_offsets(),
            [0, 1, 1, 1, 1]
        );
        assert!(inner.is_valid(0) && inner.is_null(2));
    }

    proptest! {
        #[test]
        fn any_bytes_make_columns_as_long_as_the_values(
            values in prop::collection::vec(prop::option::of(prop::collection::vec(0_u8..40, 0..24)), 0..8),
        ) {
            let values: Vec<_> = values.iter().map(Option::as_deref).collect();
            let (columns, errors) = decoded(&values);
            for column in &columns {
                prop_assert_eq!(column.len(), values.len());
                for (row, _) in &errors {
                    prop_assert!(column.is_null(*row) && values[*row].is_some());
                }
            }
        }
    }
}
