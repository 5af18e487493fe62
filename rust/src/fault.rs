//! What can be wrong with bytes; these know nothing of Python.

use std::fmt;

/// Why a response is not what its version says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// What is wrong with one record batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its bytes contradict its checksum, its header or its format.
    Corrupt(&'static str),
    /// It is of a format that nobody knows.
    Magic(i8),
    /// It holds more decompressed bytes than the limit.
    TooLarge(usize),
}

/// A fault and the batch that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchError {
    pub base_offset: i64,
    pub fault: Fault,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt(reason) => write!(f, "the record batch is corrupt: {reason}"),
            Self::Magic(magic) => write!(
                f,
                "the record batch has the unknown message format v{magic}, not v2"
            ),
            Self::TooLarge(limit) => write!(
                f,
                "the record batch holds more than the limit of {limit} bytes"
            ),
        }
    }
}
