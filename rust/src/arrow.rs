//! The hand-over of columns to Python, by Arrow's capsule interface. The arrow crates keep all `unsafe` to themselves.

use std::sync::Arc;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, to_ffi};
use arrow_array::types::{Int8Type, Int64Type, TimestampMillisecondType};
use arrow_array::{
    Array, ArrayRef, BinaryArray, ListArray, PrimitiveArray, StringArray, StructArray,
};
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, Field};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::columns::{Bytes, Columns, Headers};

type Column = (Arc<Field>, ArrayRef);

/// Lay the columns out as one Arrow record batch. Nothing is copied.
pub fn record_batch(columns: Columns) -> Result<StructArray, ArrowError> {
    let timestamps = PrimitiveArray::<TimestampMillisecondType>::try_new(
        columns.timestamps.into(),
        columns.timestamp_validity.finish(),
    )?;
    let mut fields = vec![
        column(
            "offset",
            false,
            PrimitiveArray::<Int64Type>::try_new(columns.offsets.into(), None)?,
        ),
        column("timestamp", true, timestamps.with_timezone("UTC")),
        column(
            "timestamp_type",
            false,
            PrimitiveArray::<Int8Type>::try_new(columns.timestamp_types.into(), None)?,
        ),
        column("key", true, binary(columns.keys)?),
        column("value", true, binary(columns.values)?),
    ];
    if let Some(headers) = columns.headers {
        fields.push(column("headers", true, header_list(headers)?));
    }
    Ok(StructArray::from(fields))
}

fn column(name: &str, nullable: bool, array: impl Array + 'static) -> Column {
    (
        Arc::new(Field::new(name, array.data_type().clone(), nullable)),
        Arc::new(array),
    )
}

fn ends(ends: Vec<i32>) -> OffsetBuffer<i32> {
    OffsetBuffer::new(ScalarBuffer::from(ends))
}

fn binary(bytes: Bytes) -> Result<BinaryArray, ArrowError> {
    BinaryArray::try_new(
        ends(bytes.ends),
        Buffer::from_vec(bytes.data),
        bytes.validity.finish(),
    )
}

fn header_list(headers: Headers) -> Result<ListArray, ArrowError> {
    let keys = StringArray::try_new(
        ends(headers.keys.ends),
        Buffer::from_vec(headers.keys.data),
        None,
    )?;
    let pairs = StructArray::from(vec![
        column("key", true, keys),
        column("value", true, binary(headers.values)?),
    ]);
    let item = Arc::new(Field::new("item", pairs.data_type().clone(), true));
    ListArray::try_new(item, ends(headers.ends), Arc::new(pairs), None)
}

/// Wrap a record batch into the two capsules of `__arrow_c_array__`.
pub fn capsules<'py>(
    py: Python<'py>,
    record_batch: &StructArray,
) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
    let (array, schema): (FFI_ArrowArray, FFI_ArrowSchema) = to_ffi(&record_batch.to_data())
        .map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
    Ok((
        PyCapsule::new_with_value(py, schema, c"arrow_schema")?,
        PyCapsule::new_with_value(py, array, c"arrow_array")?,
    ))
}
