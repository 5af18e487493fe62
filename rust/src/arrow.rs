//! The hand-over of columns to and from Python, by Arrow's capsule interface.

use std::sync::Arc;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi, to_ffi};
use arrow_array::types::{Int8Type, Int64Type, TimestampMillisecondType};
use arrow_array::{
    Array, ArrayRef, BinaryArray, ListArray, PrimitiveArray, StringArray, StructArray, make_array,
};
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, Field, Schema};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyCapsuleMethods};

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

/// Take an array over from Python's `__arrow_c_array__`. Nothing is copied.
#[allow(
    unsafe_code,
    reason = "Arrow's C interface hands pointers over; the names of the capsules say what they point to"
)]
pub fn import_array(object: &Bound<'_, PyAny>) -> PyResult<ArrayRef> {
    let (schema, array): (Bound<'_, PyCapsule>, Bound<'_, PyCapsule>) =
        object.call_method0("__arrow_c_array__")?.extract()?;
    let schema = schema.pointer_checked(Some(c"arrow_schema"))?;
    let array = array.pointer_checked(Some(c"arrow_array"))?;
    // SAFETY: a capsule of this name holds a valid structure, which is moved out of it: its release is cleared.
    let data = unsafe {
        let array = FFI_ArrowArray::from_raw(array.as_ptr().cast());
        from_ffi(array, &*schema.as_ptr().cast::<FFI_ArrowSchema>())
    };
    let data = data.map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
    Ok(make_array(data))
}

/// Read a schema from Python's `__arrow_c_schema__`.
#[allow(
    unsafe_code,
    reason = "Arrow's C interface hands pointers over; the name of the capsule says what it points to"
)]
pub fn import_schema(object: &Bound<'_, PyAny>) -> PyResult<Schema> {
    let capsule: Bound<'_, PyCapsule> = object.call_method0("__arrow_c_schema__")?.extract()?;
    let schema = capsule.pointer_checked(Some(c"arrow_schema"))?;
    // SAFETY: a capsule of this name holds a valid structure, and lives until the end of this function.
    let schema = unsafe { &*schema.as_ptr().cast::<FFI_ArrowSchema>() };
    Schema::try_from(schema).map_err(|error| PyRuntimeError::new_err(error.to_string()))
}
