//! JSON values to columns. A row is read whole or not at all, and only a whole one may change a type.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BinaryArray};
use arrow_schema::{ArrowError, Field, Schema};

use crate::budget::Budget;
use crate::json_column::{Column, Kind, MOST_FIELDS, Row};
use crate::json_cursor::{Cursor, Stop, check};
use crate::json_fields::{Fields, NamedColumn};

/// The field metadata that tells what a column is, here and in Python.
const MARK: &str = "kafkalab";
const BOM: &[u8] = b"\xef\xbb\xbf";

/// How to read.
#[derive(Debug, Default)]
pub struct Options {
    /// The fields to build; all where it is not said.
    pub wanted: Option<HashSet<String>>,
    /// Whether the fields of objects in objects become columns named by their path.
    pub flatten: bool,
    /// Whether only the fields of the schema are built.
    pub closed: bool,
    /// How many bytes stand in front of each value.
    pub skip: usize,
}

/// The columns of a step, and its rows that could not be read.
#[derive(Debug)]
pub struct Decoded {
    pub columns: Vec<(Arc<Field>, ArrayRef)>,
    /// The values that are no objects.
    pub whole: Option<(Arc<Field>, ArrayRef)>,
    pub errors: Vec<(usize, String)>,
    /// The fields that were seen and not built.
    pub left_out: Vec<String>,
    /// The fields, or the whole, in which integers became floats.
    pub widened: Vec<Option<String>>,
}

/// Read every value as JSON, with the types of a schema as a start.
pub fn decode(
    values: &BinaryArray,
    schema: &Schema,
    options: &Options,
) -> Result<Decoded, ArrowError> {
    let budget = Budget::of(values);
    let mut pass = Pass::new(schema, options, values.len(), &budget)?;
    let mut errors = Vec::new();
    for (number, value) in values.iter().enumerate() {
        if let Some(Err(error)) = value.map(|value| pass.row(number, value)) {
            errors.push((number, error));
        }
    }
    pass.reread_conflicts(values, &errors);
    pass.finish(values.len(), errors)
}

/// One reading of all rows.
struct Pass<'o> {
    options: &'o Options,
    budget: &'o Budget,
    /// What the budget was in the beginning.
    room: usize,
    rows: usize,
    fields: Fields,
    whole: Column,
    /// Whether fields that are not known yet are passed over.
    closed: bool,
    columns: usize,
    /// Where a field is that is named by its path.
    path: Vec<u8>,
    tape: Vec<u8>,
}

impl<'o> Pass<'o> {
    fn new(
        schema: &Schema,
        options: &'o Options,
        rows: usize,
        budget: &'o Budget,
    ) -> Result<Self, ArrowError> {
        let mut pass = Self {
            options,
            budget,
            room: budget.room(),
            rows,
            fields: Fields::default(),
            whole: Column::new(Kind::Found),
            closed: options.closed,
            columns: 0,
            path: Vec::new(),
            tape: Vec::new(),
        };
        let mut columns = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            let (kind, data_type) = (kind_of(field), field.data_type());
            let column = Column::of_type(kind, data_type)
                .ok_or_else(|| ArrowError::SchemaError(format!("JSON has no {data_type}")))?;
            columns.push((field.name(), column));
        }
        // What was only found before is found again where there would be no room for anything else.
        let sizes = columns.iter().map(|(_, column)| column.size(rows));
        let fits = sizes.sum::<usize>() < pass.room / 2;
        for (name, column) in columns {
            if fits || column.kind == Kind::Given {
                let size = column.size(rows).min(budget.room());
                budget.give_back(budget.room() - size);
                pass.fields.add(name, column);
            }
        }
        pass.columns = pass.fields.width();
        Ok(pass)
    }

    /// Append a row, or nothing of it.
    fn row(&mut self, number: usize, value: &[u8]) -> Result<(), String> {
        let value = value.get(self.options.skip..).unwrap_or_default();
        let value = value.strip_prefix(BOM).unwrap_or(value);
        if let Err(error) = std::str::from_utf8(value) {
            return Err(format!("no JSON: byte {} is no UTF-8", error.valid_up_to()));
        }
        let (known, room) = (self.fields.columns.len(), self.budget.room());
        let mut read = self.read(number, value, false);
        if matches!(read, Err(Stop::Check | Stop::Conflict)) {
            self.take_back(number);
            self.budget.give_back(room);
            check(value)?;
            read = self.read(number, value, true);
        }
        let Err(stop) = read else {
            return Ok(());
        };
        self.take_back(number);
        if self.fields.columns.len() > known {
            self.fields.forget(known);
            self.columns = self.fields.width();
        }
        let used = self.fields.size(self.rows) + self.whole.size(self.rows);
        self.budget.give_back(self.room.saturating_sub(used));
        Err(match stop {
            Stop::Row(error) => error,
            Stop::Check | Stop::Conflict => "no JSON that can be read".to_owned(),
        })
    }

    fn read(&mut self, number: usize, value: &[u8], checked: bool) -> Result<(), Stop> {
        let mut json = Cursor::new(value, std::mem::take(&mut self.tape));
        let mut row = Row {
            checked,
            depth: 0,
            columns: self.columns,
            budget: self.budget,
            least: self.rows,
            changes: 0,
        };
        let read = self.value(&mut json, number, &mut row);
        self.columns = row.columns;
        self.tape = json.into_tape();
        read
    }

    fn value(
        &mut self,
        json: &mut Cursor<'_>,
        number: usize,
        row: &mut Row<'_>,
    ) -> Result<(), Stop> {
        match json.peek() {
            b'{' => {
                self.fields.rewind();
                self.object(json, number, row)?;
            }
            b'n' => json.null()?,
            _ if self.options.closed => {
                row.may_change()?;
                return Err(Stop::Row("no object, which the schema has".to_owned()));
            }
            _ => {
                self.whole.seek(number);
                append(&mut self.whole, json, row)?;
            }
        }
        if json.is_done() {
            Ok(())
        } else {
            Err(Stop::Check)
        }
    }

    fn object(
        &mut self,
        json: &mut Cursor<'_>,
        number: usize,
        row: &mut Row<'_>,
    ) -> Result<(), Stop> {
        json.index += 1;
        let mut more = !json.take(b'}');
        while more {
            if self.options.flatten {
                self.path_and_value(json, number, row)?;
            } else {
                let field = match self.fields.expected(json) {
                    Some(field) => Some(field),
                    None => self.field(json.name()?, row)?,
                };
                self.append(field, json, number, row)?;
            }
            more = json.next(b'}')?;
        }
        Ok(())
    }

    fn path_and_value(
        &mut self,
        json: &mut Cursor<'_>,
        number: usize,
        row: &mut Row<'_>,
    ) -> Result<(), Stop> {
        let prefix = self.path.len();
        self.path.extend_from_slice(json.name()?);
        if json.peek() == b'{' && row.enter().is_ok() {
            self.path.push(b'.');
            self.object(json, number, row)?;
            row.depth -= 1;
        } else {
            let path = std::mem::take(&mut self.path);
            let field = self.field(&path, row);
            self.path = path;
            self.append(field?, json, number, row)?;
        }
        self.path.truncate(prefix);
        Ok(())
    }

    #[inline]
    fn append(
        &mut self,
        field: Option<usize>,
        json: &mut Cursor<'_>,
        number: usize,
        row: &mut Row<'_>,
    ) -> Result<(), Stop> {
        let Some(field) = field else {
            return json.skip();
        };
        let column = &mut self.fields.columns[field].column;
        if matches!(column.kind, Kind::Unwanted | Kind::Conflict) {
            return json.skip();
        }
        column.seek(number);
        append(column, json, row)
    }

    fn field(&mut self, name: &[u8], row: &mut Row<'_>) -> Result<Option<usize>, Stop> {
        let found = self.fields.find(name);
        if found.is_some() || self.closed {
            return Ok(found);
        }
        row.may_change()?;
        if name.contains(&0) {
            let error = "the name of a field holds a NUL character, which Arrow has not";
            return Err(Stop::Row(error.to_owned()));
        }
        let name = String::from_utf8_lossy(name);
        let wanted = self.options.wanted.as_ref();
        if wanted.is_some_and(|wanted| !wanted.contains(&*name)) {
            let room = self.fields.columns.len() < MOST_FIELDS;
            return Ok(room.then(|| self.fields.add(&name, Column::new(Kind::Unwanted))));
        }
        if row.columns >= MOST_FIELDS {
            return Err(Stop::Row(format!(
                "there are more than {MOST_FIELDS} different fields: name the columns, or read it as text"
            )));
        }
        row.add_column(name.as_bytes(), 0)?;
        Ok(Some(self.fields.add(&name, Column::new(Kind::Found))))
    }

    fn take_back(&mut self, number: usize) {
        self.fields.truncate(number);
        self.whole.truncate(number);
        self.path.clear();
    }

    /// Fill the columns that no type fits with texts, which are needed from the first row on.
    fn reread_conflicts(&mut self, values: &BinaryArray, errors: &[(usize, String)]) {
        let budget = Budget::of(values);
        let mut texts = Pass {
            options: self.options,
            budget: &budget,
            room: budget.room(),
            rows: values.len(),
            fields: Fields::default(),
            whole: Column::new(match self.whole.kind {
                Kind::Conflict => Kind::Text,
                _ => Kind::Unwanted,
            }),
            closed: true,
            columns: 0,
            path: Vec::new(),
            tape: Vec::new(),
        };
        for named in &self.fields.columns {
            if named.column.kind == Kind::Conflict {
                texts.fields.add(&named.name, Column::new(Kind::Text));
            }
        }
        if texts.fields.columns.is_empty() && texts.whole.kind != Kind::Text {
            return;
        }
        let mut bad = errors.iter().map(|(number, _)| *number).peekable();
        for (number, value) in values.iter().enumerate() {
            if bad.next_if_eq(&number).is_none() {
                // It was read before.
                let _ = value.map(|value| texts.row(number, value));
            }
        }
        let mut read = texts.fields.columns.into_iter();
        for named in &mut self.fields.columns {
            if named.column.kind == Kind::Conflict
                && let Some(text) = read.next()
            {
                named.column = text.column;
            }
        }
        if self.whole.kind == Kind::Conflict {
            self.whole = texts.whole;
        }
    }

    fn finish(self, rows: usize, errors: Vec<(usize, String)>) -> Result<Decoded, ArrowError> {
        let mut decoded = Decoded {
            columns: Vec::new(),
            whole: None,
            errors,
            left_out: Vec::new(),
            widened: Vec::new(),
        };
        for NamedColumn { name, column, .. } in self.fields.columns {
            if column.kind == Kind::Unwanted {
                decoded.left_out.push(name);
            } else {
                if column.widened() {
                    decoded.widened.push(Some(name.clone()));
                }
                decoded.columns.push(finished(name, column, rows)?);
            }
        }
        if self.whole.has_values() {
            if self.whole.widened() {
                decoded.widened.push(None);
            }
            decoded.whole = Some(finished(String::new(), self.whole, rows)?);
        }
        Ok(decoded)
    }
}

#[inline]
fn append(column: &mut Column, json: &mut Cursor<'_>, row: &mut Row<'_>) -> Result<(), Stop> {
    let (start, depth, least) = (json.index, row.depth, row.least);
    match column.push(json, row) {
        Err(Stop::Conflict) => {
            row.depth = depth;
            row.least = least;
            give_up(column, row)?;
            json.index = start;
            json.skip()
        }
        pushed => pushed,
    }
}

/// Make a column one of conflicts.
#[cold]
fn give_up(column: &mut Column, row: &mut Row<'_>) -> Result<(), Stop> {
    if column.kind == Kind::Given {
        let error = "a number too large, or an object too deep, for the schema";
        return Err(Stop::Row(error.to_owned()));
    }
    row.may_change()?;
    row.columns = row.columns.saturating_sub(column.width() - 1);
    let conflict = Column::new(Kind::Conflict);
    let freed = column
        .size(row.least)
        .saturating_sub(conflict.size(row.least));
    row.budget.give_back(row.budget.room() + freed);
    *column = conflict;
    Ok(())
}

fn kind_of(field: &Field) -> Kind {
    match field.metadata().get(MARK).map(String::as_str) {
        Some("json") => Kind::Text,
        Some(_) => Kind::Given,
        None => Kind::Found,
    }
}

fn finished(
    name: String,
    column: Column,
    rows: usize,
) -> Result<(Arc<Field>, ArrayRef), ArrowError> {
    let is_text = column.kind == Kind::Text;
    let array = column.finish(rows)?;
    let field = Field::new(name, array.data_type().clone(), true);
    let mark = is_text.then(|| (MARK.to_owned(), "json".to_owned()));
    Ok((
        Arc::new(field.with_metadata(mark.into_iter().collect())),
        array,
    ))
}
