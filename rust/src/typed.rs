//! A column of a given type that grows a value at a time, and can forget what a row has appended.

use std::sync::Arc;

use arrow_array::types::{
    Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int32Type, Int64Type, UInt32Type,
    UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, FixedSizeBinaryArray,
    ListArray, MapArray, NullArray, PrimitiveArray, StringArray, StructArray, make_array,
};
use arrow_buffer::{
    BooleanBufferBuilder, Buffer, NullBuffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer, i256,
};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Fields};

use crate::map_keys::last_of_each_key;
use crate::times::Times;

/// A column that could not take a value, since Arrow counts its bytes and items in 31 bits.
pub const FULL: &str = "it makes more than 2 GiB of one column at once";
const MOST: usize = i32::MAX as usize;

/// What stands where a row has no value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Absent {
    #[default]
    Null,
    /// Zero, false or nothing.
    Zero,
    /// The name that an enumeration has for zero.
    Name(Box<[u8]>),
}

/// The values themselves; those of null rows are there, and mean nothing.
#[derive(Debug)]
pub enum Values {
    Null,
    Bool(BooleanBufferBuilder),
    I32(Vec<i32>),
    I64(Vec<i64>),
    U32(Vec<u32>),
    U64(Vec<u64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    I128(Vec<i128>, u8),
    I256(Vec<i256>, u8),
    Text(Bytes),
    Binary(Bytes),
    Fixed(usize, Vec<u8>),
    /// Times whose unit is found when all are there.
    Times(Times),
    /// Lists, and maps, whose items have a key and a value.
    List(Vec<i32>, Box<Column>),
    Struct(Vec<Column>),
}

/// Variable-length values: where each ends, and all of them.
#[derive(Debug)]
pub struct Bytes {
    pub ends: Vec<i32>,
    pub data: Vec<u8>,
}

/// A column in the making.
#[derive(Debug)]
pub struct Column {
    pub values: Values,
    pub absent: Absent,
    cell: usize,
    nulls: NullBufferBuilder,
    data_type: DataType,
}

impl Column {
    /// Begin a column; types that no format gives are not known.
    pub fn new(data_type: &DataType) -> Option<Self> {
        let values = match data_type {
            DataType::Null => Values::Null,
            DataType::Boolean => Values::Bool(BooleanBufferBuilder::new(0)),
            DataType::Int32 | DataType::Date32 | DataType::Time32(_) => Values::I32(Vec::new()),
            DataType::Int64
            | DataType::Time64(_)
            | DataType::Timestamp(..)
            | DataType::Duration(_) => Values::I64(Vec::new()),
            DataType::UInt32 => Values::U32(Vec::new()),
            DataType::UInt64 => Values::U64(Vec::new()),
            DataType::Float32 => Values::F32(Vec::new()),
            DataType::Float64 => Values::F64(Vec::new()),
            DataType::Decimal128(digits, _) => Values::I128(Vec::new(), *digits),
            DataType::Decimal256(digits, _) => Values::I256(Vec::new(), *digits),
            DataType::Utf8 => Values::Text(Bytes::new()),
            DataType::Binary => Values::Binary(Bytes::new()),
            DataType::FixedSizeBinary(width) => {
                Values::Fixed(usize::try_from(*width).ok()?, Vec::new())
            }
            DataType::List(item) | DataType::Map(item, _) => {
                Values::List(vec![0], Box::new(Self::new(item.data_type())?))
            }
            DataType::Struct(fields) => Values::Struct(Self::all(fields)?),
            _ => return None,
        };
        let mut column = Self {
            values,
            absent: Absent::Null,
            cell: 0,
            nulls: NullBufferBuilder::new(0),
            data_type: data_type.clone(),
        };
        column.measure();
        Some(column)
    }

    /// Find anew what a value takes, when what stands in the place of absent ones is known.
    pub fn measure(&mut self) {
        self.cell = match &self.values {
            Values::Null | Values::Bool(_) => 1,
            Values::I32(_) | Values::U32(_) | Values::F32(_) | Values::List(..) => 4,
            Values::I64(_) | Values::U64(_) | Values::F64(_) => 8,
            Values::Times(_) => 12,
            Values::I128(..) => 16,
            Values::I256(..) => 32,
            Values::Text(_) | Values::Binary(_) => match &self.absent {
                Absent::Name(name) => 4 + name.len(),
                _ => 4,
            },
            Values::Fixed(width, _) => *width + 1,
            Values::Struct(columns) => cell_of(columns),
        };
    }

    /// How many bytes each value takes whatever it is, those of the columns of a struct among them.
    #[inline]
    pub fn cell(&self) -> usize {
        self.cell
    }

    /// The type that it began with.
    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// Begin a column for each field.
    pub fn all(fields: &Fields) -> Option<Vec<Self>> {
        fields
            .iter()
            .map(|field| Self::new(field.data_type()))
            .collect()
    }

    /// How many values there are; one that is being appended may already be in its parts.
    #[inline]
    pub fn len(&self) -> usize {
        self.nulls.len()
    }

    /// Count the value that has been appended to `values`.
    #[inline]
    pub fn took(&mut self) {
        self.nulls.append_non_null();
    }

    #[inline]
    pub fn push_null(&mut self) {
        let length = self.len();
        self.nulls.append_null();
        self.lay(length + 1);
    }

    /// Append zero, false or nothing.
    pub fn push_zero(&mut self) {
        let length = self.len();
        self.nulls.append_non_null();
        self.lay(length + 1);
    }

    /// Append nothing, or what stands for it, up to a length, or forget what is beyond.
    pub fn resize(&mut self, length: usize) {
        if length < self.len() {
            self.nulls.truncate(length);
        } else if self.absent == Absent::Null {
            self.nulls.append_n_nulls(length - self.len());
        } else {
            self.nulls.append_n_non_nulls(length - self.len());
        }
        self.lay(length);
    }

    /// Make the next value that of a row: forget one that it has, and let those before be absent.
    #[inline]
    pub fn seek(&mut self, row: usize) {
        if self.len() != row {
            self.resize(row);
        }
    }

    fn lay(&mut self, length: usize) {
        match &mut self.values {
            Values::Null => {}
            Values::Bool(bits) => bits.resize(length),
            Values::I32(values) => values.resize(length, 0),
            Values::I64(values) => values.resize(length, 0),
            Values::U32(values) => values.resize(length, 0),
            Values::U64(values) => values.resize(length, 0),
            Values::F32(values) => values.resize(length, 0.0),
            Values::F64(values) => values.resize(length, 0.0),
            Values::I128(values, _) => values.resize(length, 0),
            Values::I256(values, _) => values.resize(length, i256::ZERO),
            Values::Text(bytes) | Values::Binary(bytes) => bytes.resize(length, &self.absent),
            Values::Fixed(width, data) => data.resize(length * *width, 0),
            Values::Times(times) => times.resize(length),
            Values::List(ends, item) => {
                ends.resize(length + 1, end(item.len()));
                item.resize(last(ends));
            }
            Values::Struct(columns) => {
                for column in columns {
                    column.resize(length);
                }
            }
        }
    }

    /// Lay the column out as Arrow, with nothing up to a length.
    pub fn finish(mut self, length: usize) -> Result<ArrayRef, ArrowError> {
        self.resize(length);
        let nulls = self.nulls.finish();
        let kind = &self.data_type;
        Ok(match self.values {
            Values::Null => Arc::new(NullArray::new(length)),
            Values::Bool(mut bits) => Arc::new(BooleanArray::new(bits.finish(), nulls)),
            Values::I32(values) => primitive::<Int32Type>(values, nulls, kind)?,
            Values::I64(values) => primitive::<Int64Type>(values, nulls, kind)?,
            Values::U32(values) => primitive::<UInt32Type>(values, nulls, kind)?,
            Values::U64(values) => primitive::<UInt64Type>(values, nulls, kind)?,
            Values::F32(values) => primitive::<Float32Type>(values, nulls, kind)?,
            Values::F64(values) => primitive::<Float64Type>(values, nulls, kind)?,
            Values::I128(values, _) => primitive::<Decimal128Type>(values, nulls, kind)?,
            Values::I256(values, _) => primitive::<Decimal256Type>(values, nulls, kind)?,
            Values::Text(bytes) => Arc::new(StringArray::try_new(
                offsets(bytes.ends),
                Buffer::from_vec(bytes.data),
                nulls,
            )?),
            Values::Binary(bytes) => Arc::new(BinaryArray::try_new(
                offsets(bytes.ends),
                Buffer::from_vec(bytes.data),
                nulls,
            )?),
            Values::Fixed(width, data) => Arc::new(FixedSizeBinaryArray::try_new(
                end(width),
                Buffer::from_vec(data),
                nulls,
            )?),
            Values::Times(times) => times.finish(kind, nulls)?,
            Values::List(ends, item) => list(kind, ends, *item, nulls)?,
            Values::Struct(columns) => match kind {
                DataType::Struct(fields) => Arc::new(structs(fields, columns, length, nulls)?),
                _ => return Err(ArrowError::SchemaError(format!("{kind} has no fields"))),
            },
        })
    }
}

impl Bytes {
    fn new() -> Self {
        Self {
            ends: vec![0],
            data: Vec::new(),
        }
    }

    /// Append a value, if there is room.
    #[inline]
    pub fn push(&mut self, value: &[u8]) -> Result<(), &'static str> {
        if self.data.len() + value.len() > MOST {
            return Err(FULL);
        }
        self.data.extend_from_slice(value);
        self.ends.push(end(self.data.len()));
        Ok(())
    }

    fn resize(&mut self, length: usize, absent: &Absent) {
        match absent {
            Absent::Name(name) => {
                while self.ends.len() <= length && self.push(name).is_ok() {}
                self.ends.truncate(length + 1);
            }
            _ => self.ends.resize(length + 1, end(self.data.len())),
        }
        self.data.truncate(last(&self.ends));
    }
}

/// How many bytes a row takes in columns.
pub fn cell_of(columns: &[Column]) -> usize {
    1 + columns.iter().map(Column::cell).sum::<usize>()
}

/// Lay columns out as a struct.
pub fn structs(
    fields: &Fields,
    columns: Vec<Column>,
    length: usize,
    nulls: Option<NullBuffer>,
) -> Result<StructArray, ArrowError> {
    if fields.is_empty() {
        return Ok(StructArray::new_empty_fields(length, nulls));
    }
    let arrays: Vec<_> = columns
        .into_iter()
        .map(|column| column.finish(length))
        .collect::<Result<_, _>>()?;
    let found = fields.iter().zip(&arrays);
    let fields = found.map(|(field, array)| as_found(field, &**array));
    StructArray::try_new(fields.collect(), arrays, nulls)
}

/// Return a field with the type that its values turned out to have.
fn as_found(field: &FieldRef, array: &dyn Array) -> FieldRef {
    if field.data_type() == array.data_type() {
        return field.clone();
    }
    let name = field.name().clone();
    Arc::new(Field::new(
        name,
        array.data_type().clone(),
        field.is_nullable(),
    ))
}

fn primitive<T: ArrowPrimitiveType>(
    values: Vec<T::Native>,
    nulls: Option<NullBuffer>,
    kind: &DataType,
) -> Result<ArrayRef, ArrowError> {
    let array = PrimitiveArray::<T>::try_new(ScalarBuffer::from(values), nulls)?;
    let data = array.into_data().into_builder().data_type(kind.clone());
    Ok(make_array(data.build()?))
}

fn list(
    kind: &DataType,
    ends: Vec<i32>,
    item: Column,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef, ArrowError> {
    let items = item.finish(last(&ends))?;
    Ok(match kind {
        DataType::Map(field, _) => {
            let no_map = || ArrowError::SchemaError("a map has keys and values".to_owned());
            let entries = items.as_any().downcast_ref::<StructArray>();
            let (ends, entries) = last_of_each_key(ends, entries.ok_or_else(no_map)?)?;
            let field = as_found(field, &entries);
            Arc::new(MapArray::try_new(
                field,
                offsets(ends),
                entries,
                nulls,
                false,
            )?)
        }
        DataType::List(field) => {
            let field = as_found(field, &*items);
            Arc::new(ListArray::try_new(field, offsets(ends), items, nulls)?)
        }
        _ => return Err(ArrowError::SchemaError(format!("{kind} has no items"))),
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "what would make a column longer than that is refused before"
)]
pub fn end(length: usize) -> i32 {
    length as i32
}

fn last(ends: &[i32]) -> usize {
    ends.last()
        .map_or(0, |end| usize::try_from(*end).unwrap_or(0))
}

fn offsets(ends: Vec<i32>) -> OffsetBuffer<i32> {
    OffsetBuffer::new(ScalarBuffer::from(ends))
}
