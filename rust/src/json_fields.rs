//! The columns of an object's fields.

use std::collections::HashMap;

use arrow_array::{Array, StructArray};
use arrow_buffer::NullBuffer;
use arrow_schema::{ArrowError, Field};

use crate::json_column::{Column, Kind, MOST_FIELDS, Row};
use crate::json_cursor::{Cursor, Stop};

/// A column and its name, which a text mostly has in quotes and before a colon.
#[derive(Debug)]
pub struct NamedColumn {
    pub name: String,
    quoted: Vec<u8>,
    pub column: Column,
}

/// Columns by name: of an object.
#[derive(Debug, Default)]
pub struct Fields {
    pub columns: Vec<NamedColumn>,
    numbers: HashMap<Vec<u8>, usize>,
    next: usize,
    closed: bool,
}

impl Fields {
    /// Begin without any; those that are closed take no more than are added to them.
    pub fn new(closed: bool) -> Self {
        Self {
            closed,
            ..Self::default()
        }
    }

    /// Go over the name of a field and return its number, if it is the one expected.
    #[inline]
    pub fn expected(&mut self, json: &mut Cursor<'_>) -> Option<usize> {
        let expected = self.columns.get(self.next)?;
        json.peek();
        json.take_all(&expected.quoted).then(|| {
            self.next += 1;
            self.next - 1
        })
    }

    /// Find a field's number. Mostly the fields of an object come in the order of the one before.
    #[inline]
    pub fn find(&mut self, name: &[u8]) -> Option<usize> {
        let expected = self.columns.get(self.next);
        let number = if expected.is_some_and(|expected| expected.name.as_bytes() == name) {
            self.next
        } else {
            *self.numbers.get(name)?
        };
        self.next = number + 1;
        Some(number)
    }

    /// Expect the first field next.
    pub fn rewind(&mut self) {
        self.next = 0;
    }

    pub fn add(&mut self, name: &str, column: Column) -> usize {
        let number = self.columns.len();
        self.numbers.insert(name.as_bytes().to_vec(), number);
        self.columns.push(NamedColumn {
            name: name.to_owned(),
            quoted: quoted(name),
            column,
        });
        number
    }

    /// Forget the fields beyond a number of them.
    pub fn forget(&mut self, number: usize) {
        for named in self.columns.drain(number..) {
            self.numbers.remove(named.name.as_bytes());
        }
    }

    /// Append an object's fields to the row after a number of them.
    pub fn push(
        &mut self,
        json: &mut Cursor<'_>,
        length: usize,
        row: &mut Row<'_>,
    ) -> Result<(), Stop> {
        self.rewind();
        json.index += 1;
        let mut more = !json.take(b'}');
        while more {
            let number = match self.expected(json) {
                Some(number) => Some(number),
                None => self.number(json.name()?, length, row)?,
            };
            if let Some(number) = number {
                let column = &mut self.columns[number].column;
                column.seek(length);
                column.push(json, row)?;
            } else {
                json.skip()?;
            }
            more = json.next(b'}')?;
        }
        Ok(())
    }

    fn number(
        &mut self,
        name: &[u8],
        length: usize,
        row: &mut Row<'_>,
    ) -> Result<Option<usize>, Stop> {
        let found = self.find(name);
        if found.is_some() || self.closed {
            return Ok(found);
        }
        row.may_change()?;
        if row.columns >= MOST_FIELDS || name.contains(&0) {
            return Err(Stop::Conflict);
        }
        row.add_column(name, length)?;
        let name = String::from_utf8_lossy(name);
        Ok(Some(self.add(&name, Column::new(Kind::Found))))
    }

    /// Whether integers became floats in any of them.
    pub fn widened(&self) -> bool {
        self.columns.iter().any(|named| named.column.widened())
    }

    /// How many columns these and those in them are.
    pub fn width(&self) -> usize {
        self.columns.iter().map(|named| named.column.width()).sum()
    }

    /// How many bytes an object's values take.
    pub fn cell(&self) -> usize {
        self.columns.iter().map(|named| named.column.cell()).sum()
    }

    /// How many bytes the columns take with so many values.
    pub fn size(&self, length: usize) -> usize {
        self.columns
            .iter()
            .map(|named| 3 * named.name.len() + named.column.size(length))
            .sum()
    }

    /// Forget what is beyond a length.
    pub fn truncate(&mut self, length: usize) {
        for named in &mut self.columns {
            named.column.truncate(length);
        }
    }

    /// Lay the columns out as Arrow.
    pub fn finish(
        self,
        length: usize,
        nulls: Option<NullBuffer>,
    ) -> Result<StructArray, ArrowError> {
        if self.columns.is_empty() {
            return Ok(StructArray::new_empty_fields(length, nulls));
        }
        let mut fields = Vec::with_capacity(self.columns.len());
        let mut arrays = Vec::with_capacity(self.columns.len());
        for NamedColumn { name, column, .. } in self.columns {
            let array = column.finish(length)?;
            fields.push(Field::new(name, array.data_type().clone(), true));
            arrays.push(array);
        }
        StructArray::try_new(fields.into(), arrays, nulls)
    }
}

/// A name as JSON has it, if it needs no escapes; else bytes that no text has there.
fn quoted(name: &str) -> Vec<u8> {
    let plain = |byte: u8| !matches!(byte, b'"' | b'\\' | ..0x20);
    if name.bytes().all(plain) {
        format!("\"{name}\":").into_bytes()
    } else {
        b":".to_vec()
    }
}
