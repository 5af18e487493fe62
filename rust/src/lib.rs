//! The native half of kafkalab. This file only registers what Python sees.

mod build_info;

/// Bytes of the Fetch protocol to Arrow, for `kafkalab` to decide over.
#[pyo3::pymodule]
mod _native {
    #[pymodule_export]
    use crate::build_info::version;

    #[pymodule_init]
    fn init(module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        crate::build_info::warn_of_debug_build(module)
    }
}
