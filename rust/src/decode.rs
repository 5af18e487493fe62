//! Arrays of bytes from Python, decoded into columns without the GIL.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, BinaryArray, Int32Array, StructArray};
use arrow_schema::{ArrowError, DataType, Field, Fields};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule};

use crate::arrow::{capsules, import_array, import_schema};
use crate::budget::Errors;
use crate::plan::{avro_node, message};
use crate::typed::{Column, structs};
use crate::{avro, framing, json, protobuf};

/// The columns of decoded values.
#[pyclass(frozen, module = "kafkalab._native")]
#[derive(Debug)]
pub struct DecodedValues {
    columns: StructArray,
    #[pyo3(get)]
    has_whole: bool,
    errors: Vec<(usize, String)>,
    #[pyo3(get)]
    left_out: Vec<String>,
    #[pyo3(get)]
    widened: Vec<Option<String>>,
}

#[pymethods]
impl DecodedValues {
    #[getter]
    fn errors(&self) -> Vec<(usize, String)> {
        self.errors.clone()
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
        drop(requested_schema); // a wish, which an exporter may ignore
        capsules(py, &self.columns)
    }
}

/// Read JSON values as columns.
#[pyfunction]
#[pyo3(signature = (values, schema, *, wanted=None, flatten=false, closed=false, skip=0))]
pub fn decode_json(
    py: Python<'_>,
    values: &Bound<'_, PyAny>,
    schema: &Bound<'_, PyAny>,
    wanted: Option<HashSet<String>>,
    flatten: bool,
    closed: bool,
    skip: usize,
) -> PyResult<DecodedValues> {
    let schema = import_schema(schema)?;
    let options = json::Options {
        wanted,
        flatten,
        closed,
        skip,
    };
    without_gil(py, values, |values| {
        let decoded = json::decode(values, &schema, &options)?;
        DecodedValues::try_from_json(decoded, values.len())
    })
}

/// How a schema's values are read, and the columns that they make.
#[pyclass(frozen, module = "kafkalab._native")]
#[derive(Debug)]
pub struct AvroPlan {
    plan: avro::Plan,
    kind: DataType,
}

#[pymethods]
impl AvroPlan {
    #[new]
    fn new(
        root: &Bound<'_, PyAny>,
        named: &Bound<'_, PyAny>,
        schema: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let fields = import_schema(schema)?.fields;
        let named: Vec<Bound<'_, PyAny>> = named.extract()?;
        let named = named.iter().map(avro_node).collect::<PyResult<_>>()?;
        let root = avro_node(root)?;
        Ok(Self {
            plan: avro::Plan { root, named },
            kind: DataType::Struct(fields),
        })
    }
}

/// Read Avro values with these bytes in front as columns.
#[pyfunction]
pub fn decode_avro(
    py: Python<'_>,
    values: &Bound<'_, PyAny>,
    plan: &Bound<'_, AvroPlan>,
    front: &[u8],
) -> PyResult<DecodedValues> {
    let plan = plan.get();
    without_gil(py, values, |values| {
        let mut column = Column::new(&plan.kind)
            .ok_or_else(|| ArrowError::SchemaError(format!("Avro has no {}", plan.kind)))?;
        match avro::decode(values, front, &plan.plan, &mut column) {
            Ok(errors) => DecodedValues::of_column(column, values.len(), errors),
            Err(refused) => Ok(DecodedValues::without_columns(values.len(), refused)),
        }
    })
}

/// How messages are read, and the columns that they make.
#[pyclass(frozen, module = "kafkalab._native")]
#[derive(Debug)]
pub struct ProtobufPlan {
    message: protobuf::Message,
    fields: Fields,
}

#[pymethods]
impl ProtobufPlan {
    #[new]
    fn new(fields: &Bound<'_, PyAny>, schema: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self {
            message: message(fields)?,
            fields: import_schema(schema)?.fields,
        })
    }
}

/// Read Protobuf messages with these bytes in front as columns.
#[pyfunction]
pub fn decode_protobuf(
    py: Python<'_>,
    values: &Bound<'_, PyAny>,
    plan: &Bound<'_, ProtobufPlan>,
    front: &[u8],
) -> PyResult<DecodedValues> {
    let plan = plan.get();
    without_gil(py, values, |values| {
        let mut columns = Column::all(&plan.fields)
            .ok_or_else(|| ArrowError::SchemaError("Protobuf has no such types".to_owned()))?;
        let errors = match protobuf::decode(values, front, &plan.message, &mut columns) {
            Ok(errors) => errors,
            Err(refused) => return Ok(DecodedValues::without_columns(values.len(), refused)),
        };
        Ok(DecodedValues {
            columns: structs(&plan.fields, columns, values.len(), None)?,
            has_whole: false,
            errors,
            left_out: Vec::new(),
            widened: Vec::new(),
        })
    })
}

type Fronts<'py> = Vec<Bound<'py, PyBytes>>;

/// Tell the fronts that a registry's clients put before values, and which row has which.
#[pyfunction]
#[pyo3(signature = (values, *, indexes))]
pub fn split_framing<'py>(
    py: Python<'py>,
    values: &Bound<'py, PyAny>,
    indexes: bool,
) -> PyResult<(Fronts<'py>, DecodedValues)> {
    let values = import_array(values)?;
    let values = binary(&*values)?;
    let framed = py.detach(|| framing::split(values, indexes));
    let fronts = framed
        .fronts
        .iter()
        .map(|front| PyBytes::new(py, front))
        .collect();
    let fields: Fields = vec![Field::new("front", DataType::Int32, true)].into();
    let rows = DecodedValues {
        columns: StructArray::new(fields, vec![Arc::new(Int32Array::from(framed.rows))], None),
        has_whole: false,
        errors: framed.errors,
        left_out: Vec::new(),
        widened: Vec::new(),
    };
    Ok((fronts, rows))
}

fn without_gil(
    py: Python<'_>,
    values: &Bound<'_, PyAny>,
    decode: impl FnOnce(&BinaryArray) -> Result<DecodedValues, ArrowError> + Send,
) -> PyResult<DecodedValues> {
    let values = import_array(values)?;
    let values = binary(&*values)?;
    py.detach(|| decode(values))
        .map_err(|error| PyValueError::new_err(error.to_string()))
}

fn binary(values: &dyn Array) -> PyResult<&BinaryArray> {
    let binary = values.as_binary_opt::<i32>();
    binary.ok_or_else(|| PyTypeError::new_err("values are a binary array"))
}

impl DecodedValues {
    fn without_columns(rows: usize, errors: Errors) -> Self {
        Self {
            columns: StructArray::new_empty_fields(rows, None),
            has_whole: false,
            errors,
            left_out: Vec::new(),
            widened: Vec::new(),
        }
    }

    /// Take the columns of records; a row without one is null in each.
    fn of_column(
        column: Column,
        rows: usize,
        errors: Vec<(usize, String)>,
    ) -> Result<Self, ArrowError> {
        let (fields, arrays, _) = column.finish(rows)?.as_struct().clone().into_parts();
        let columns = StructArray::try_new_with_length(fields, arrays, None, rows)?;
        Ok(Self {
            columns,
            has_whole: false,
            errors,
            left_out: Vec::new(),
            widened: Vec::new(),
        })
    }

    fn try_from_json(decoded: json::Decoded, rows: usize) -> Result<Self, ArrowError> {
        let has_whole = decoded.whole.is_some();
        let (fields, arrays): (Vec<_>, Vec<_>) =
            decoded.columns.into_iter().chain(decoded.whole).unzip();
        let columns = if fields.is_empty() {
            StructArray::new_empty_fields(rows, None)
        } else {
            StructArray::try_new(fields.into(), arrays, None)?
        };
        Ok(Self {
            columns,
            has_whole,
            errors: decoded.errors,
            left_out: decoded.left_out,
            widened: decoded.widened,
        })
    }
}
