//! The response that Python holds, and the steps it takes through it.

use std::sync::{Arc, Mutex};

use arrow_array::{Array, StructArray};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule, PyDict};

use crate::arrow;
use crate::connection::check_version;
use crate::error::{BatchError, Error};
use crate::isolation::Seen;
use crate::response::{self, Partition, Response};
use crate::step::{Cursor, Options, Step as ParsedStep};
use crate::workspace::{Pool, Workspace};

/// What a response says about one partition.
#[pyclass(frozen, module = "kafkalab._native")]
pub struct PartitionHead {
    topic: Arc<str>,
    #[pyo3(get)]
    partition: i32,
    #[pyo3(get)]
    error_code: i16,
    #[pyo3(get)]
    high_watermark: i64,
    #[pyo3(get)]
    last_stable_offset: i64,
    #[pyo3(get)]
    log_start_offset: i64,
    #[pyo3(get)]
    preferred_read_replica: i32,
    #[pyo3(get)]
    base_offset: Option<i64>,
    #[pyo3(get)]
    next_offset: Option<i64>,
    #[pyo3(get)]
    after_gap: Option<i64>,
    #[pyo3(get)]
    cut_batch_bytes: Option<usize>,
    #[pyo3(get)]
    old_format: bool,
    #[pyo3(get)]
    misplaced: Option<i64>,
    #[pyo3(get)]
    record_bytes: usize,
}

#[pymethods]
impl PartitionHead {
    #[getter]
    fn topic(&self) -> &str {
        &self.topic
    }
}

impl From<&Partition> for PartitionHead {
    fn from(from: &Partition) -> Self {
        Self {
            topic: Arc::clone(&from.topic),
            partition: from.partition,
            error_code: from.error_code,
            high_watermark: from.high_watermark,
            last_stable_offset: from.last_stable_offset,
            log_start_offset: from.log_start_offset,
            preferred_read_replica: from.preferred_read_replica,
            base_offset: from.whole.base_offset,
            next_offset: from.whole.next_offset,
            after_gap: from.whole.after_gap,
            cut_batch_bytes: from.whole.cut_batch_bytes,
            old_format: from.whole.old_format,
            misplaced: from.whole.misplaced,
            record_bytes: from.records.len(),
        }
    }
}

/// Which transactions of one partition are under way where its reader is; kept from response to response.
#[pyclass(frozen, module = "kafkalab._native")]
#[derive(Default)]
pub struct Transactions(Arc<Mutex<Seen>>);

#[pymethods]
impl Transactions {
    #[new]
    fn new() -> Self {
        Self::default()
    }
}

/// What is wanted of one partition.
struct Wanted {
    start: i64,
    end: i64,
    seen: Arc<Mutex<Seen>>,
}

/// Records of one partition, as an Arrow record batch.
#[pyclass(frozen, module = "kafkalab._native")]
pub struct Step {
    topic: Arc<str>,
    #[pyo3(get)]
    partition: i32,
    #[pyo3(get)]
    next_offset: i64,
    record_batch: StructArray,
}

#[pymethods]
impl Step {
    #[getter]
    fn topic(&self) -> &str {
        &self.topic
    }

    #[getter]
    fn records(&self) -> usize {
        self.record_batch.len()
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyCapsule>>,
    ) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
        _ = requested_schema; // the interface allows to give the schema one has
        arrow::capsules(py, &self.record_batch)
    }

    fn __repr__(&self) -> String {
        let (topic, partition, next) = (&self.topic, self.partition, self.next_offset);
        format!(
            "<Step {topic}[{partition}] records={} next_offset={next}>",
            self.records()
        )
    }
}

/// A Fetch response, read step by step.
#[pyclass(module = "kafkalab._native")]
pub struct FetchResponse {
    response: Response,
    workspace: Workspace,
    /// The partition to read next, and how far it has been read.
    current: usize,
    cursor: Option<Cursor>,
}

impl FetchResponse {
    pub fn new(response: Response, workspace: Workspace) -> Self {
        Self {
            response,
            workspace,
            current: 0,
            cursor: None,
        }
    }

    /// Look up what is wanted of the partitions that are still to be read and have records.
    fn ranges(&self, wanted: &Bound<'_, PyDict>) -> PyResult<Vec<Option<Wanted>>> {
        let range = |partition: &Partition| {
            if partition.records.is_empty() || partition.error_code != 0 {
                return Ok(None);
            }
            let range = wanted.get_item((&*partition.topic, partition.partition))?;
            range.as_ref().map(extract).transpose()
        };
        self.response.partitions[self.current..]
            .iter()
            .map(range)
            .collect()
    }

    /// Take the next step, in whichever partition that is.
    fn next(
        &mut self,
        ranges: &[Option<Wanted>],
        options: &Options,
    ) -> Result<Option<Step>, Error> {
        for range in ranges {
            let partition = &self.response.partitions[self.current];
            if let (None, Some(wanted)) = (&self.cursor, range) {
                let seen = Arc::clone(&wanted.seen);
                let aborted = &partition.aborted;
                self.cursor = Some(Cursor::new(wanted.start, wanted.end, aborted, seen));
            }
            let (topic, partition) = (Arc::clone(&partition.topic), partition.partition);
            if let Some(step) = self.step(options)? {
                return Ok(Some(Step {
                    topic,
                    partition,
                    next_offset: step.next_offset,
                    record_batch: arrow::record_batch(step.columns).map_err(|error| {
                        Error::Python(PyRuntimeError::new_err(error.to_string()))
                    })?,
                }));
            }
        }
        Ok(None)
    }

    /// Take a step in the current partition, and leave it where no other can follow.
    fn step(&mut self, options: &Options) -> Result<Option<ParsedStep>, Error> {
        let (Some(cursor), Some(partition)) =
            (&mut self.cursor, self.response.partitions.get(self.current))
        else {
            self.current += 1;
            return Ok(None);
        };
        let (frame, decompressor) = self.workspace.split();
        let records = &frame[partition.records.clone()];
        let step = cursor
            .step(records, options, decompressor)
            .map_err(|error| at(partition, error))?;
        if step.is_none() || cursor.is_done(records) {
            self.cursor = None;
            self.current += 1;
        }
        Ok(step)
    }
}

fn extract(wanted: &Bound<'_, PyAny>) -> PyResult<Wanted> {
    let (start, end, seen): (i64, i64, Bound<'_, Transactions>) = wanted.extract()?;
    let seen = Arc::clone(&seen.get().0);
    Ok(Wanted { start, end, seen })
}

fn at(partition: &Partition, error: BatchError) -> Error {
    Error::Batch {
        topic: Arc::clone(&partition.topic),
        partition: partition.partition,
        error,
    }
}

#[pymethods]
impl FetchResponse {
    #[staticmethod]
    fn from_bytes(frame: &Bound<'_, PyBytes>, version: i16) -> PyResult<Self> {
        check_version(version)?;
        let mut workspace = Pool::take(&Arc::default());
        let bytes = frame.as_bytes();
        workspace.frame_mut(bytes.len()).copy_from_slice(bytes);
        Ok(Self::new(
            response::parse(bytes, version, usize::MAX).map_err(Error::from)?,
            workspace,
        ))
    }

    #[getter]
    fn throttle_ms(&self) -> i32 {
        self.response.throttle_ms
    }

    #[getter]
    fn error_code(&self) -> i16 {
        self.response.error_code
    }

    #[getter]
    fn wire_bytes(&self) -> usize {
        self.workspace.frame().len()
    }

    #[getter]
    fn partitions(&self) -> Vec<PartitionHead> {
        self.response
            .partitions
            .iter()
            .map(PartitionHead::from)
            .collect()
    }

    #[pyo3(signature = (wanted, *, read_committed, headers=false, check_crcs=true, max_step_bytes=4 << 20, max_batch_bytes=256 << 20))]
    #[expect(clippy::too_many_arguments, reason = "keywords of Python")]
    fn next_step(
        &mut self,
        py: Python<'_>,
        wanted: &Bound<'_, PyDict>,
        read_committed: bool,
        headers: bool,
        check_crcs: bool,
        max_step_bytes: usize,
        max_batch_bytes: usize,
    ) -> PyResult<Option<Step>> {
        let options = Options {
            read_committed,
            headers,
            check_crcs,
            max_step_bytes,
            max_batch_bytes,
        };
        let ranges = self.ranges(wanted)?;
        if ranges.iter().all(Option::is_none) {
            return Ok(None);
        }
        // In one go: where another thread keeps Python busy, coming back to it can take 5 ms.
        Ok(py.detach(|| self.next(&ranges, &options))?)
    }
}
