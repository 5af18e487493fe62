//! A column that grows a JSON value at a time, and finds its type on the way.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, NullArray, StringArray,
};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Field};

use crate::budget::Budget;
use crate::json_cursor::{Cursor, Number, Stop};
use crate::json_fields::Fields;

/// Deeper objects and lists are kept as their text.
const DEEPEST: usize = 32;
/// Integers up to here are exact as floats.
const EXACT: u64 = 1 << 53;

/// How many columns there may be, nested ones too.
pub const MOST_FIELDS: usize = 10_000;
/// What a column takes whether it has values or not.
const COLUMN: usize = 512;

/// What holds for the row that is being read, and how much room there is.
#[derive(Debug)]
pub struct Row<'b> {
    /// Whether it is known to be whole.
    pub checked: bool,
    pub depth: usize,
    /// Columns there are, nested ones too.
    pub columns: usize,
    pub budget: &'b Budget,
    /// How many values a new column will have at least: one for each row, outside of lists.
    pub least: usize,
    /// How often a column was added, or found its type.
    pub changes: usize,
}

impl Row<'_> {
    /// Refuse a row that may turn out to be broken.
    pub fn may_change(&self) -> Result<(), Stop> {
        if self.checked {
            Ok(())
        } else {
            Err(Stop::Check)
        }
    }

    /// Take room for bytes of columns.
    #[inline]
    pub fn take(&self, bytes: usize) -> Result<(), Stop> {
        self.budget
            .take(bytes)
            .map_err(|spent| Stop::Row(spent.to_owned()))
    }

    /// Take room for more columns; one of objects that needs too many can be text instead.
    fn take_for_columns(&self, bytes: usize) -> Result<(), Stop> {
        match self.take(bytes) {
            Err(_) if self.depth > 0 => Err(Stop::Conflict),
            taken => taken,
        }
    }

    /// Count a new column of a field, which has so many values so far.
    pub fn add_column(&mut self, name: &[u8], length: usize) -> Result<(), Stop> {
        self.take_for_columns(COLUMN + 3 * name.len() + length.max(self.least))?;
        self.columns += 1;
        self.changes += 1;
        Ok(())
    }

    /// Go into an object or a list.
    pub fn enter(&mut self) -> Result<(), Stop> {
        if self.depth == DEEPEST {
            return Err(Stop::Conflict);
        }
        self.depth += 1;
        Ok(())
    }
}

/// Variable-length strings.
#[derive(Debug)]
struct Strings {
    ends: Vec<i32>,
    data: Vec<u8>,
}

#[derive(Debug)]
enum Values {
    /// Nothing but nulls so far.
    Null,
    Bool(BooleanBufferBuilder),
    Int(Vec<i64>),
    Float(Vec<f64>),
    Text(Strings),
    List(Vec<i32>, Box<Column>),
    Object(Fields),
}

/// How much a column may become something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Its type widens with what comes, where that loses nothing.
    Found,
    /// Its type was given: what does not fit is an error of its row.
    Given,
    /// It holds the JSON texts of values of any type.
    Text,
    /// Nobody asked for it.
    Unwanted,
    /// No type holds its values: it will be text, from the first row on.
    Conflict,
}

/// A column in the making.
#[derive(Debug)]
pub struct Column {
    pub kind: Kind,
    values: Values,
    nulls: NullBufferBuilder,
    /// Whether integers became floats, which another row has.
    widened: bool,
}

impl Column {
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            widened: false,
            values: match kind {
                Kind::Text => Values::Text(Strings::new()),
                _ => Values::Null,
            },
            nulls: NullBufferBuilder::new(0),
        }
    }

    /// Begin with a type that was given, or found before; those that JSON cannot give are not known.
    pub fn of_type(kind: Kind, data_type: &DataType) -> Option<Self> {
        let values = match data_type {
            DataType::Null => Values::Null,
            DataType::Boolean => Values::Bool(BooleanBufferBuilder::new(0)),
            DataType::Int64 => Values::Int(Vec::new()),
            DataType::Float64 => Values::Float(Vec::new()),
            DataType::Utf8 => Values::Text(Strings::new()),
            DataType::List(item) => {
                Values::List(vec![0], Box::new(Self::of_type(kind, item.data_type())?))
            }
            DataType::Struct(fields) => {
                let mut object = Fields::new(kind == Kind::Given);
                for field in fields {
                    object.add(field.name(), Self::of_type(kind, field.data_type())?);
                }
                Values::Object(object)
            }
            _ => return None,
        };
        Some(Self {
            values,
            ..Self::new(kind)
        })
    }

    pub fn len(&self) -> usize {
        self.nulls.len()
    }

    /// Whether there was any value but null.
    pub fn has_values(&self) -> bool {
        !matches!(self.values, Values::Null)
    }

    /// Whether integers became floats here, or in a list or an object.
    pub fn widened(&self) -> bool {
        self.widened
            || match &self.values {
                Values::List(_, item) => item.widened(),
                Values::Object(fields) => fields.widened(),
                _ => false,
            }
    }

    /// How many columns this one and those in it are.
    pub fn width(&self) -> usize {
        1 + match &self.values {
            Values::List(_, item) => item.width(),
            Values::Object(fields) => fields.width(),
            _ => 0,
        }
    }

    /// How many bytes each value takes, those of an object's columns among them.
    pub fn cell(&self) -> usize {
        match &self.values {
            _ if matches!(self.kind, Kind::Unwanted) => 0,
            Values::Null if self.kind == Kind::Conflict => 4,
            Values::Null | Values::Bool(_) => 1,
            Values::Int(_) | Values::Float(_) => 8,
            Values::Text(_) | Values::List(..) => 4,
            Values::Object(fields) => 1 + fields.cell(),
        }
    }

    /// How many bytes it takes with so many values, and the items that it has.
    pub fn size(&self, length: usize) -> usize {
        let own = |cell: usize| COLUMN + cell.saturating_mul(length);
        match &self.values {
            Values::List(_, item) => own(4) + item.size(item.len()),
            Values::Object(fields) => own(1) + fields.size(length),
            _ => own(self.cell()),
        }
    }

    /// Make the next value that of a row: those left out are null, and of a name that comes twice the last counts.
    #[inline]
    pub fn seek(&mut self, row: usize) {
        if self.len() != row {
            self.resize(row);
        }
    }

    /// Forget what is beyond a length.
    pub fn truncate(&mut self, length: usize) {
        // One that is as long may still hold parts of a row that was taken back.
        if self.len() >= length {
            self.resize(length);
        }
    }

    /// Append nulls up to a length, or forget what is beyond.
    fn resize(&mut self, length: usize) {
        if length < self.len() {
            self.nulls.truncate(length);
        } else {
            self.nulls.append_n_nulls(length - self.len());
        }
        match &mut self.values {
            Values::Null => {}
            Values::Bool(bits) => bits.resize(length),
            Values::Int(values) => values.resize(length, 0),
            Values::Float(values) => values.resize(length, 0.0),
            Values::Text(strings) => {
                strings.ends.resize(length + 1, end(strings.data.len()));
                strings.data.truncate(last(&strings.ends));
            }
            Values::List(ends, item) => {
                ends.resize(length + 1, end(item.len()));
                item.resize(last(ends));
            }
            Values::Object(fields) => fields.truncate(length),
        }
    }

    /// Append the next JSON value.
    pub fn push(&mut self, json: &mut Cursor<'_>, row: &mut Row<'_>) -> Result<(), Stop> {
        let first = json.peek();
        let start = json.index;
        match self.kind {
            Kind::Unwanted | Kind::Conflict => return json.skip(),
            _ if first == b'n' => {
                self.resize(self.len() + 1);
                return json.null();
            }
            Kind::Text => return self.push_text(json),
            Kind::Found | Kind::Given => {}
        }
        match (&mut self.values, first) {
            (Values::Int(values), b'-' | b'0'..=b'9' | b'I' | b'N') => match json.number()? {
                Number::Int(value) => values.push(value),
                Number::Float(value) if self.kind == Kind::Given => {
                    values.push(whole(value).ok_or_else(|| misfit("a fraction", "an integer"))?);
                }
                Number::Float(_) => {
                    row.may_change()?;
                    self.widened = !values.is_empty();
                    let floats: Option<_> = values.iter().map(|value| exact(*value)).collect();
                    self.values = Values::Float(floats.ok_or(Stop::Conflict)?);
                    json.index = start;
                    return self.push(json, row);
                }
            },
            (Values::Float(values), b'-' | b'0'..=b'9' | b'I' | b'N') => {
                values.push(match json.number()? {
                    Number::Float(value) => value,
                    Number::Int(value) if self.kind == Kind::Given => nearest(value),
                    Number::Int(value) => {
                        self.widened = true;
                        exact(value).ok_or(Stop::Conflict)?
                    }
                });
            }
            (Values::Bool(bits), b't' | b'f') => bits.append(json.boolean()?),
            (Values::Text(strings), b'"') => {
                json.string(&mut strings.data)?;
                strings.end();
            }
            (Values::Text(_), _) if self.kind == Kind::Given => return self.push_text(json),
            (Values::List(ends, item), b'[') => {
                row.enter()?;
                let least = std::mem::take(&mut row.least);
                json.index += 1;
                let mut more = !json.take(b']');
                let mut cell = if more { item.cell() } else { 0 };
                while more {
                    row.take(cell)?;
                    let changes = row.changes;
                    item.push(json, row)?;
                    if row.changes != changes {
                        cell = item.cell();
                    }
                    more = json.next(b']')?;
                }
                ends.push(end(item.len()));
                row.least = least;
                row.depth -= 1;
            }
            (Values::Object(fields), b'{') => {
                row.enter()?;
                fields.push(json, self.nulls.len(), row)?;
                row.depth -= 1;
            }
            (Values::Null, _) if self.kind == Kind::Found => {
                row.may_change()?;
                self.become_fit_for(first, row)?;
                return self.push(json, row);
            }
            _ => {
                row.may_change()?;
                return Err(self.misfit(first));
            }
        }
        self.nulls.append_non_null();
        Ok(())
    }

    /// Append the value's JSON text.
    fn push_text(&mut self, json: &mut Cursor<'_>) -> Result<(), Stop> {
        let start = json.index;
        json.skip()?;
        if let Values::Text(strings) = &mut self.values {
            compact(json.since(start), &mut strings.data);
            strings.end();
        }
        self.nulls.append_non_null();
        Ok(())
    }

    fn become_fit_for(&mut self, first: u8, row: &mut Row<'_>) -> Result<(), Stop> {
        let nulls = self.len();
        let values = match first {
            b't' | b'f' => Values::Bool(BooleanBufferBuilder::new(nulls)),
            b'"' => Values::Text(Strings::new()),
            b'[' => {
                row.add_column(b"", 0)?;
                Values::List(vec![0], Box::new(Self::new(Kind::Found)))
            }
            b'{' => Values::Object(Fields::default()),
            _ => Values::Int(Vec::new()),
        };
        let found = Self {
            values,
            ..Self::new(self.kind)
        };
        row.take_for_columns(found.cell() * row.least.max(nulls + 1))?;
        row.changes += 1;
        self.values = found.values;
        self.resize(nulls);
        Ok(())
    }

    /// Say that a value is of another type.
    #[cold]
    fn misfit(&self, first: u8) -> Stop {
        if self.kind == Kind::Found {
            return Stop::Conflict;
        }
        let wanted = match &self.values {
            Values::Null => "null",
            Values::Bool(_) => "a boolean",
            Values::Int(_) => "an integer",
            Values::Float(_) => "a number",
            Values::Text(_) => "a string",
            Values::List(..) => "a list",
            Values::Object(_) => "an object",
        };
        let found = match first {
            b't' | b'f' => "a boolean",
            b'"' => "a string",
            b'[' => "a list",
            b'{' => "an object",
            _ => "a number",
        };
        misfit(found, wanted)
    }

    /// Lay the column out as Arrow, with nulls up to a length.
    pub fn finish(mut self, length: usize) -> Result<ArrayRef, ArrowError> {
        self.resize(length);
        let nulls = self.nulls.finish();
        Ok(match self.values {
            Values::Null => Arc::new(NullArray::new(length)),
            Values::Bool(mut bits) => Arc::new(BooleanArray::new(bits.finish(), nulls)),
            Values::Int(values) => Arc::new(Int64Array::try_new(values.into(), nulls)?),
            Values::Float(values) => Arc::new(Float64Array::try_new(values.into(), nulls)?),
            Values::Text(strings) => Arc::new(StringArray::try_new(
                offsets(strings.ends),
                Buffer::from_vec(strings.data),
                nulls,
            )?),
            Values::List(ends, item) => {
                let items = item.finish(last(&ends))?;
                let field = Arc::new(Field::new("item", items.data_type().clone(), true));
                Arc::new(ListArray::try_new(field, offsets(ends), items, nulls)?)
            }
            Values::Object(fields) => Arc::new(fields.finish(length, nulls)?),
        })
    }
}

impl Strings {
    fn new() -> Self {
        Self {
            ends: vec![0],
            data: Vec::new(),
        }
    }

    fn end(&mut self) {
        self.ends.push(end(self.data.len()));
    }
}

fn misfit(found: &str, wanted: &str) -> Stop {
    Stop::Row(format!("{found} where the schema has {wanted}"))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "this is where it is ruled out"
)]
fn whole(value: f64) -> Option<i64> {
    let found = value as i64;
    (exact(found) == Some(value)).then_some(found)
}

#[expect(clippy::cast_precision_loss, reason = "asked for")]
fn nearest(value: i64) -> f64 {
    value as f64
}

fn exact(value: i64) -> Option<f64> {
    (value.unsigned_abs() <= EXACT).then(|| nearest(value))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "columns are no longer than the input, which has such offsets itself"
)]
fn end(length: usize) -> i32 {
    length as i32
}

fn last(ends: &[i32]) -> usize {
    ends.last()
        .map_or(0, |end| usize::try_from(*end).unwrap_or(0))
}

fn offsets(ends: Vec<i32>) -> OffsetBuffer<i32> {
    OffsetBuffer::new(ScalarBuffer::from(ends))
}

/// Append a JSON text without the white space between its parts.
fn compact(text: &[u8], out: &mut Vec<u8>) {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
    if !text.iter().any(blank) {
        out.extend_from_slice(text);
        return;
    }
    let (mut quoted, mut escaped) = (false, false);
    for byte in text {
        if quoted || !blank(byte) {
            out.push(*byte);
        }
        quoted ^= *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
    }
}
