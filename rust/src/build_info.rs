//! What was built: the version, and whether it is fast.

use pyo3::exceptions::PyRuntimeWarning;
use pyo3::prelude::*;

/// The version of the native half, as Cargo spells it.
#[pyfunction]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// A debug build reads many times slower, which nobody should take for the library's speed.
pub fn warn_of_debug_build(module: &Bound<'_, PyModule>) -> PyResult<()> {
    if cfg!(debug_assertions) {
        PyErr::warn(
            module.py(),
            &module.py().get_type::<PyRuntimeWarning>(),
            c"kafkalab._native is a debug build and slow; build it with `maturin develop --release`",
            1,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_debug_build_warns_at_import() {
        Python::initialize();
        Python::attach(|py| {
            let warnings = py.import("warnings").unwrap();
            warnings.call_method1("simplefilter", ("error",)).unwrap();
            let module = PyModule::new(py, "_native").unwrap();
            let warned = warn_of_debug_build(&module)
                .is_err_and(|warning| warning.is_instance_of::<PyRuntimeWarning>(py));
            assert_eq!(warned, cfg!(debug_assertions));
        });
    }
}
