//! Arrays of bytes from Python, decoded into columns without the GIL.

use std::collections::HashSet;

use arrow_array::cast::AsArray;
use arrow_array::{Array, StructArray};
use arrow_schema::ArrowError;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::arrow::{capsules, import_array, import_schema};
use crate::json;

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
#[pyo3(signature = (values, schema, *, wanted=None, flatten=false, closed=false))]
pub fn decode_json(
    py: Python<'_>,
    values: &Bound<'_, PyAny>,
    schema: &Bound<'_, PyAny>,
    wanted: Option<HashSet<String>>,
    flatten: bool,
    closed: bool,
) -> PyResult<DecodedValues> {
    let values = import_array(values)?;
    let schema = import_schema(schema)?;
    let options = json::Options {
        wanted,
        flatten,
        closed,
    };
    let values = values
        .as_binary_opt::<i32>()
        .ok_or_else(|| PyTypeError::new_err("values are a binary array"))?;
    py.detach(|| {
        let decoded = json::decode(values, &schema, &options)?;
        let rows = values.len();
        DecodedValues::try_from_json(decoded, rows)
    })
    .map_err(|error: ArrowError| PyValueError::new_err(error.to_string()))
}

impl DecodedValues {
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
        })
    }
}
