//! Blocking sockets, plain or TLS, and Kafka's frames: a length of 32 bits, then so many bytes.

use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use pyo3::Python;
use rustls::{ClientConnection, StreamOwned};

use crate::error::{Error, TlsReason};
use crate::tls::{self, ClientSetup};

/// No wait is longer before it looks at the stop flag and at signals.
const PULSE: Duration = Duration::from_millis(100);
const LENGTH_BYTES: usize = 4;
/// Bytes a second: an answer that comes slower is not waited for.
const SLOWEST: usize = 16 << 10;
/// rustls asks for a few kilobytes at a time; the system is asked for more.
const TLS_READ_BYTES: usize = 128 << 10;
/// How a TLS alert begins; as the length of an answer it would mean 336 MiB.
const TLS_ALERT: [u8; 2] = [0x15, 0x03];

/// How long to wait, and what ends a wait early.
pub struct Patience {
    timeout: Duration,
    deadline: Instant,
    /// When all has to be there, however steadily it comes.
    end: Option<Instant>,
    next_pulse: Instant,
    stop: Option<Arc<AtomicBool>>,
}

impl Patience {
    pub fn new(timeout: Duration, stop: Option<Arc<AtomicBool>>) -> Self {
        let now = Instant::now();
        Self {
            timeout,
            deadline: now + timeout,
            end: None,
            next_pulse: now + PULSE,
            stop,
        }
    }

    /// Something came: the time runs anew.
    fn refresh(&mut self) {
        let deadline = Instant::now() + self.timeout;
        self.deadline = self.end.map_or(deadline, |end| end.min(deadline));
    }

    /// Let the wait for so many bytes end, even if some come now and then.
    pub fn end_after(&mut self, bytes: usize) {
        let seconds = u64::try_from(bytes / SLOWEST).unwrap_or(u64::MAX);
        self.end = Instant::now().checked_add(self.timeout + Duration::from_secs(seconds));
    }

    /// Look at the stop flag, the deadline and Python's signals, if it is time to.
    fn check(&mut self) -> Result<(), Error> {
        if Instant::now() < self.next_pulse {
            Ok(())
        } else {
            self.pulse()
        }
    }

    fn pulse(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        self.next_pulse = now + PULSE;
        if self
            .stop
            .as_ref()
            .is_some_and(|stop| stop.load(Ordering::Relaxed))
        {
            return Err(Error::Stopped);
        }
        check_signals()?;
        if now < self.deadline {
            return Ok(());
        }
        let message = format!(
            "the broker sent {} for {} s",
            if self.end.is_some_and(|end| now >= end) {
                "too little"
            } else {
                "nothing"
            },
            self.timeout.as_secs_f32()
        );
        Err(io::Error::new(ErrorKind::TimedOut, message).into())
    }
}

#[expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the method alone has too narrow a lifetime"
)]
fn check_signals() -> Result<(), Error> {
    Python::attach(|py| py.check_signals()).map_err(Error::Python)
}

/// Which of a host's addresses to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Any,
    V4,
    V6,
}

impl Family {
    fn has(self, address: &SocketAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

/// A socket that is read from in large pieces.
pub struct Buffered(BufReader<TcpStream>);

impl Read for Buffered {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Buffered {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.get_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.get_mut().flush()
    }
}

/// A connected socket.
pub enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, Buffered>>),
}

impl Stream {
    /// Connect, with TLS if it is set up, trying each of the host's addresses of the family.
    pub fn connect(
        host: &str,
        port: u16,
        family: Family,
        setup: Option<ClientSetup>,
        patience: &mut Patience,
    ) -> Result<Self, Error> {
        let socket = dial(host.to_owned(), port, family, patience)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PULSE))?;
        socket.set_write_timeout(Some(PULSE))?;
        patience.refresh();
        match setup {
            None => Ok(Self::Plain(socket)),
            Some(setup) => {
                let socket = Buffered(BufReader::with_capacity(TLS_READ_BYTES, socket));
                let mut stream = StreamOwned::new(setup.client()?, socket);
                while stream.conn.is_handshaking() {
                    progress(
                        stream.conn.complete_io(&mut stream.sock).map(|_| 1),
                        patience,
                    )?;
                }
                Ok(Self::Tls(Box::new(stream)))
            }
        }
    }

    /// The socket itself, to shut it down from another thread.
    pub fn socket(&self) -> io::Result<TcpStream> {
        match self {
            Self::Plain(socket) => socket.try_clone(),
            Self::Tls(stream) => stream.sock.0.get_ref().try_clone(),
        }
    }

    /// Write a frame around the body.
    pub fn send(&mut self, body: &[u8], patience: &mut Patience) -> Result<(), Error> {
        let length =
            u32::try_from(body.len()).map_err(|_| Error::Malformed("the request is over 4 GiB"))?;
        let frame = [&length.to_be_bytes(), body].concat();
        let mut left = &frame[..];
        while !left.is_empty() {
            let written = progress(self.write(left), patience)?;
            left = &left[written..];
        }
        loop {
            match self.flush() {
                Err(error) if is_pause(&error) => patience.check()?,
                Err(error) => return Err(translate(error)),
                Ok(()) => return Ok(()),
            }
        }
    }

    /// Read the length of a frame.
    pub fn receive_length(&mut self, most: usize, patience: &mut Patience) -> Result<usize, Error> {
        let mut length = [0; LENGTH_BYTES];
        self.fill(&mut length, patience)?;
        if length.starts_with(&TLS_ALERT) && matches!(self, Self::Plain(_)) {
            let message = "the listener speaks TLS, and this connection does not: set security.protocol to SSL or SASL_SSL";
            return Err(Error::Tls {
                reason: TlsReason::NotTls,
                message: message.to_owned(),
            });
        }
        usize::try_from(i32::from_be_bytes(length))
            .ok()
            .filter(|&length| length <= most)
            .ok_or(Error::Malformed(
                "its length is impossible: no Kafka listener, or larger than max_frame_bytes",
            ))
    }

    /// Fill the whole slice.
    pub fn fill(&mut self, mut into: &mut [u8], patience: &mut Patience) -> Result<(), Error> {
        while !into.is_empty() {
            let read = progress(self.read(into), patience)?;
            into = &mut into[read..];
        }
        Ok(())
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(into),
            Self::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// Resolve and connect in a thread of its own, since neither can be interrupted.
fn dial(
    host: String,
    port: u16,
    family: Family,
    patience: &mut Patience,
) -> Result<TcpStream, Error> {
    let (sender, receiver) = channel();
    let timeout = patience.timeout;
    std::thread::spawn(move || sender.send(dial_each(&host, port, family, timeout)));
    loop {
        match receiver.recv_timeout(PULSE) {
            Ok(connected) => return connected.map_err(Error::Io),
            Err(RecvTimeoutError::Timeout) => patience.pulse()?,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(io::Error::other("the connecting thread died").into());
            }
        }
    }
}

fn dial_each(host: &str, port: u16, family: Family, timeout: Duration) -> io::Result<TcpStream> {
    let message = format!("{host} has no address of the family {family:?}");
    let mut failed = io::Error::new(ErrorKind::NotFound, message);
    for address in (host, port).to_socket_addrs()?.filter(|at| family.has(at)) {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(socket) => return Ok(socket),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Tell how many bytes were moved; 0 after a pause, in which the patience was looked at.
fn progress(moved: io::Result<usize>, patience: &mut Patience) -> Result<usize, Error> {
    match moved {
        Ok(0) => Err(closed()),
        Ok(count) => {
            patience.refresh();
            patience.check().map(|()| count)
        }
        Err(error) if error.kind() == ErrorKind::Interrupted => patience.pulse().map(|()| 0),
        Err(error) if is_pause(&error) => patience.check().map(|()| 0),
        Err(error) => Err(translate(error)),
    }
}

fn is_pause(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

fn closed() -> Error {
    io::Error::new(
        ErrorKind::ConnectionReset,
        "the broker closed the connection",
    )
    .into()
}

fn translate(error: io::Error) -> Error {
    if error.kind() == ErrorKind::UnexpectedEof {
        return closed();
    }
    match error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        Some(failed) => tls::translate(failed),
        None => Error::Io(error),
    }
}

#[cfg(test)]
mod tests;
