//! The connection that Python holds.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::Error;
use crate::fetch::FetchResponse;
use crate::response::{self, VERSIONS};
use crate::tls::{self, ClientSetup};
use crate::wire::{self, Family, Patience, Stream};
use crate::workspace::{Pool, Workspace};

/// Ends waits of other threads.
#[pyclass(frozen, module = "kafkalab._native")]
#[derive(Default)]
pub struct StopFlag(Arc<AtomicBool>);

#[pymethods]
impl StopFlag {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Whom to trust and who to be.
#[pyclass(frozen, module = "kafkalab._native")]
pub struct TlsOptions {
    options: tls::Options,
    server_name: Option<String>,
}

#[pymethods]
impl TlsOptions {
    #[new]
    #[pyo3(signature = (*, ca_pem=None, certificate_pem=None, key_pem=None, server_name=None, verify=true))]
    fn new(
        ca_pem: Option<Vec<u8>>,
        certificate_pem: Option<Vec<u8>>,
        key_pem: Option<Vec<u8>>,
        server_name: Option<String>,
        verify: bool,
    ) -> PyResult<Self> {
        let identity = match (certificate_pem, key_pem) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate, key)),
            _ => {
                return Err(PyValueError::new_err(
                    "a client certificate needs its key, and a key its certificate",
                ));
            }
        };
        Ok(Self {
            options: tls::Options {
                ca: ca_pem,
                identity,
                verify,
            },
            server_name,
        })
    }
}

/// A connection to one broker.
#[pyclass(frozen, module = "kafkalab._native")]
pub struct Connection {
    /// Empty after a failure or a close: what is left of an answer would be taken for the next one.
    stream: Mutex<Option<Stream>>,
    socket: TcpStream,
    pool: Arc<Pool>,
    max_frame_bytes: usize,
}

#[pymethods]
impl Connection {
    #[staticmethod]
    #[pyo3(signature = (host, port, *, connect_timeout, address_family="any", tls=None, stop=None, max_frame_bytes=1 << 30))]
    #[expect(clippy::too_many_arguments, reason = "keywords of Python")]
    fn open(
        py: Python<'_>,
        host: &str,
        port: u16,
        connect_timeout: f64,
        address_family: &str,
        tls: Option<&TlsOptions>,
        stop: Option<&StopFlag>,
        max_frame_bytes: usize,
    ) -> PyResult<Self> {
        let mut patience = patience(connect_timeout, stop)?;
        let family = family(address_family)?;
        let stream = py.detach(|| {
            let name = tls
                .and_then(|tls| tls.server_name.as_deref())
                .unwrap_or(host);
            let setup = tls
                .map(|tls| ClientSetup::new(&tls.options, name))
                .transpose()?;
            Stream::connect(host, port, family, setup, &mut patience)
                .inspect_err(wire::note_failure)
        })?;
        let socket = stream.socket()?;
        Ok(Self {
            stream: Mutex::new(Some(stream)),
            socket,
            pool: Arc::default(),
            max_frame_bytes,
        })
    }

    #[pyo3(signature = (frame, *, timeout=30.0, stop=None))]
    fn send(
        &self,
        py: Python<'_>,
        frame: &[u8],
        timeout: f64,
        stop: Option<&StopFlag>,
    ) -> PyResult<()> {
        let mut patience = patience(timeout, stop)?;
        Ok(py.detach(|| self.talk(|stream| stream.send(frame, &mut patience)))?)
    }

    #[pyo3(signature = (timeout, *, stop=None, max_bytes=1 << 25))]
    fn receive<'py>(
        &self,
        py: Python<'py>,
        timeout: f64,
        stop: Option<&StopFlag>,
        max_bytes: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let mut patience = patience(timeout, stop)?;
        let most = max_bytes.min(self.max_frame_bytes);
        let frame = py.detach(|| {
            self.talk(|stream| {
                let mut frame = vec![0; stream.receive_length(most, &mut patience)?];
                stream.fill(&mut frame, &mut patience).map(|()| frame)
            })
        })?;
        Ok(PyBytes::new(py, &frame))
    }

    #[pyo3(signature = (timeout, *, version, correlation_id, partitions, max_bytes, stop=None))]
    #[expect(clippy::too_many_arguments, reason = "keywords of Python")]
    fn receive_fetch(
        &self,
        py: Python<'_>,
        timeout: f64,
        version: i16,
        correlation_id: i32,
        partitions: usize,
        max_bytes: usize,
        stop: Option<&StopFlag>,
    ) -> PyResult<FetchResponse> {
        check_version(version)?;
        let mut patience = patience(timeout, stop)?;
        Ok(py.detach(|| {
            self.talk(|stream| {
                let mut workspace = Pool::take(&self.pool);
                let length = stream.receive_length(max_bytes, &mut patience)?;
                stream.fill(workspace.frame_mut(length), &mut patience)?;
                parse(workspace, version, correlation_id, partitions)
            })
        })?)
    }

    /// Whether it is open, and nothing has come that nobody asked for.
    fn is_quiet(&self) -> bool {
        let nothing = self.socket.set_nonblocking(true).is_ok()
            && matches!(self.socket.peek(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        self.socket.set_nonblocking(false).is_ok() && nothing
    }

    /// Not under the lock, so that it ends the wait of another thread.
    fn close(&self, py: Python<'_>) {
        _ = self.socket.shutdown(Shutdown::Both); // fails where the broker has closed it already
        py.detach(|| *self.stream.lock().unwrap_or_else(PoisonError::into_inner) = None);
    }
}

impl Connection {
    fn talk<T>(&self, work: impl FnOnce(&mut Stream) -> Result<T, Error>) -> Result<T, Error> {
        let mut held = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = held.as_mut().ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotConnected, "the connection is closed")
        })?;
        work(stream).inspect_err(|error| {
            wire::note_failure(error);
            _ = self.socket.shutdown(Shutdown::Both);
            *held = None;
        })
    }
}

fn patience(timeout: f64, stop: Option<&StopFlag>) -> PyResult<Patience> {
    let timeout = Duration::try_from_secs_f64(timeout)
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(Patience::new(timeout, stop.map(|stop| Arc::clone(&stop.0))))
}

fn family(name: &str) -> PyResult<Family> {
    match name {
        "any" => Ok(Family::Any),
        "v4" => Ok(Family::V4),
        "v6" => Ok(Family::V6),
        _ => Err(PyValueError::new_err(format!(
            "the address family is any, v4 or v6, not {name:?}"
        ))),
    }
}

pub fn check_version(version: i16) -> PyResult<()> {
    if VERSIONS.contains(&version) {
        return Ok(());
    }
    Err(PyValueError::new_err(format!(
        "Fetch version {version} is not among those read here: 4 to 11"
    )))
}

/// Read a response that lies in the workspace.
fn parse(
    workspace: Workspace,
    version: i16,
    correlation_id: i32,
    partitions: usize,
) -> Result<FetchResponse, Error> {
    let response = response::parse(workspace.frame(), version, partitions)?;
    if response.correlation_id != correlation_id {
        return Err(Error::Malformed(
            "it answers another request: its correlation id is not the one sent",
        ));
    }
    Ok(FetchResponse::new(response, workspace))
}
