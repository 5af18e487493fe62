//! Blocking sockets, plain or TLS, and Kafka's frames: a length of 32 bits, then so many bytes.

use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use pyo3::Python;
use rustls::{ClientConnection, StreamOwned};

use crate::error::{Error, TlsReason};
use crate::tls::{self, ClientSetup};

/// No wait is longer before it looks at the stop flag and at signals.
const PULSE: Duration = Duration::from_millis(100);
const LENGTH_BYTES: usize = 4;
/// rustls asks for a few kilobytes at a time; the system is asked for more.
const TLS_READ_BYTES: usize = 128 << 10;
/// How a TLS alert begins; as the length of an answer it would mean 336 MiB.
const TLS_ALERT: [u8; 2] = [0x15, 0x03];

/// A peer that sends less than this many bytes a second, once its timeout is over, is given up.
const SLOWEST: u32 = 4 << 10;
/// However fast it sends, no answer takes longer.
const LONGEST: Duration = Duration::from_secs(3600);
/// The next address of a host is tried beside those before it when these have not answered for so long (RFC 8305).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);
/// How many connections have failed: another address of a host comes first after each.
static FAILURES: AtomicUsize = AtomicUsize::new(0);

/// Remember that a connection has failed, unless that was the wish of whoever holds it.
pub fn note_failure(error: &Error) {
    if !matches!(error, Error::Stopped | Error::Python(_)) {
        FAILURES.fetch_add(1, Ordering::Relaxed);
    }
}

/// How long to wait, and what ends a wait early.
pub struct Patience {
    timeout: Duration,
    begun: Instant,
    last: Instant,
    moved: u64,
    next_pulse: Instant,
    stop: Option<Arc<AtomicBool>>,
}

impl Patience {
    pub fn new(timeout: Duration, stop: Option<Arc<AtomicBool>>) -> Self {
        let now = Instant::now();
        Self {
            timeout,
            begun: now,
            last: now,
            moved: 0,
            next_pulse: now + PULSE,
            stop,
        }
    }

    /// Another phase begins: its time runs anew.
    fn renew(&mut self) {
        self.begun = Instant::now();
        self.last = self.begun;
        self.moved = 0;
    }

    /// Something came. Each byte buys a little time, so that a byte a second does not buy time without end.
    fn refresh(&mut self, count: usize) {
        self.last = Instant::now();
        self.moved += count as u64;
    }

    /// Why the time is over, if it is.
    fn complaint(&self, now: Instant) -> Option<String> {
        let (timeout, taken) = (self.timeout.as_secs_f32(), now - self.begun);
        if now >= self.last + self.timeout {
            return Some(format!("the broker sent nothing for {timeout} s"));
        }
        let bought = self.timeout + Duration::from_secs(self.moved) / SLOWEST;
        (taken >= bought || taken >= LONGEST.max(self.timeout)).then(|| {
            let seconds = taken.as_secs_f32();
            format!(
                "the broker is too slow: {} bytes in {seconds:.1} s",
                self.moved
            )
        })
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
        match self.complaint(now) {
            None => Ok(()),
            Some(message) => Err(io::Error::new(ErrorKind::TimedOut, message).into()),
        }
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
        patience.renew();
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

/// Resolve and connect in threads of their own, since neither can be interrupted.
fn dial(
    host: String,
    port: u16,
    family: Family,
    patience: &mut Patience,
) -> Result<TcpStream, Error> {
    let missing = format!("{host} has no address of the family {family:?}");
    let mut addresses = resolve(host, port, patience)?;
    addresses.retain(|address| family.has(address));
    if addresses.is_empty() {
        return Err(io::Error::new(ErrorKind::NotFound, missing).into());
    }
    let first = FAILURES.load(Ordering::Relaxed) % addresses.len();
    addresses.rotate_left(first);
    race(&addresses, TcpStream::connect_timeout, patience)
}

fn resolve(host: String, port: u16, patience: &mut Patience) -> Result<Vec<SocketAddr>, Error> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let found = (host.as_str(), port).to_socket_addrs();
        sender.send(found.map(Iterator::collect))
    });
    loop {
        if let Some(found) = awaited(&receiver, PULSE)? {
            return found.map_err(Error::Io);
        }
        patience.pulse()?;
    }
}

/// Connect to the first address that answers. The next one is tried when those before have failed, or are silent.
fn race(
    addresses: &[SocketAddr],
    connect: impl Fn(&SocketAddr, Duration) -> io::Result<TcpStream> + Copy + Send + 'static,
    patience: &mut Patience,
) -> Result<TcpStream, Error> {
    let (sender, receiver) = channel();
    let (mut left, mut running) = (addresses.iter().copied(), 0);
    let (mut next, mut failed) = (Instant::now(), None);
    loop {
        if Instant::now() >= next
            && let Some(address) = left.next()
        {
            let (sender, timeout) = (sender.clone(), patience.timeout);
            // It ends by itself; a connection that comes too late is closed, as nobody receives it.
            std::thread::spawn(move || sender.send(connect(&address, timeout)));
            running += 1;
            next = Instant::now() + NEXT_ADDRESS;
        }
        match awaited(&receiver, PULSE)? {
            Some(Ok(socket)) => return Ok(socket),
            Some(Err(error)) => {
                (running, next) = (running - 1, Instant::now());
                if running == 0 && left.len() == 0 {
                    return Err(failed.unwrap_or(error).into());
                }
                failed = Some(error);
            }
            None => patience.pulse()?,
        }
    }
}

/// What a thread has sent, or nothing after a while.
fn awaited<T>(receiver: &Receiver<T>, wait: Duration) -> Result<Option<T>, Error> {
    match receiver.recv_timeout(wait) {
        Ok(sent) => Ok(Some(sent)),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Disconnected) => {
            Err(io::Error::other("the connecting thread died").into())
        }
    }
}

/// Tell how many bytes were moved; 0 after a pause, in which the patience was looked at.
fn progress(moved: io::Result<usize>, patience: &mut Patience) -> Result<usize, Error> {
    match moved {
        Ok(0) => Err(closed()),
        Ok(count) => {
            patience.refresh(count);
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
