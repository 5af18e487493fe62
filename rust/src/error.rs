//! Everything that can go wrong in the native half, and its one conversion to Python.

use std::fmt;
use std::io;
use std::sync::Arc;

use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

pub use crate::fault::{BatchError, Fault, Malformed};

create_exception!(
    kafkalab._native,
    NativeError,
    PyException,
    "The root of what the native half raises on purpose."
);
create_exception!(
    kafkalab._native,
    MalformedResponseError,
    NativeError,
    "A response is not what its version says."
);
create_exception!(
    kafkalab._native,
    CorruptBatchError,
    NativeError,
    "A record batch is damaged."
);
create_exception!(
    kafkalab._native,
    UnsupportedMagicError,
    NativeError,
    "A record batch has a format older than v2."
);
create_exception!(
    kafkalab._native,
    BatchTooLargeError,
    NativeError,
    "A record batch is larger than the limit allows."
);
create_exception!(
    kafkalab._native,
    TlsError,
    NativeError,
    "The encrypted connection failed."
);
create_exception!(
    kafkalab._native,
    StoppedError,
    NativeError,
    "The stop flag was set while waiting."
);

/// Why a TLS connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsReason {
    UnknownIssuer,
    NameMismatch,
    Expired,
    BadCertificate,
    ClientCertificate,
    NotTls,
    Configuration,
    Other,
}

impl TlsReason {
    /// The name that Python sees.
    fn name(self) -> &'static str {
        match self {
            Self::UnknownIssuer => "unknown_issuer",
            Self::NameMismatch => "name_mismatch",
            Self::Expired => "expired",
            Self::BadCertificate => "bad_certificate",
            Self::ClientCertificate => "client_certificate",
            Self::NotTls => "not_tls",
            Self::Configuration => "configuration",
            Self::Other => "other",
        }
    }
}

/// The one error of the crate.
#[derive(Debug)]
pub enum Error {
    /// The response's own structure is broken.
    Malformed(&'static str),
    /// A batch of one partition is broken.
    Batch {
        topic: Arc<str>,
        partition: i32,
        error: BatchError,
    },
    /// Encryption failed.
    Tls { reason: TlsReason, message: String },
    /// The network failed, or time ran out.
    Io(io::Error),
    /// The stop flag was set.
    Stopped,
    /// A signal handler raised, as Ctrl-C does.
    Python(PyErr),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Malformed> for Error {
    fn from(Malformed(reason): Malformed) -> Self {
        Self::Malformed(reason)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(reason) => write!(f, "the response is malformed: {reason}"),
            Self::Batch { error, .. } => error.fault.fmt(f),
            Self::Tls { message, .. } => f.write_str(message),
            Self::Io(error) => error.fmt(f),
            Self::Stopped => f.write_str("stopped while waiting for the broker"),
            Self::Python(error) => error.fmt(f),
        }
    }
}

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Malformed(_) => MalformedResponseError::new_err(message),
            Error::Batch {
                topic,
                partition,
                error,
            } => batch_error(message, &topic, partition, error),
            Error::Tls { reason, .. } => with_attributes(TlsError::new_err(message), |error| {
                error.setattr("reason", reason.name())
            }),
            Error::Io(error) => error.into(),
            Error::Stopped => StoppedError::new_err(message),
            Error::Python(error) => error,
        }
    }
}

fn batch_error(message: String, topic: &str, partition: i32, error: BatchError) -> PyErr {
    let raised = match error.fault {
        Fault::Corrupt(_) => CorruptBatchError::new_err(message),
        Fault::Magic(_) => UnsupportedMagicError::new_err(message),
        Fault::TooLarge(_) => BatchTooLargeError::new_err(message),
    };
    with_attributes(raised, |raised| {
        raised.setattr("topic", topic)?;
        raised.setattr("partition", partition)?;
        raised.setattr("base_offset", error.base_offset)
    })
}

fn with_attributes(error: PyErr, set: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<()>) -> PyErr {
    Python::attach(|py| match set(error.value(py).as_any()) {
        Ok(()) => error,
        Err(failed) => failed,
    })
}
