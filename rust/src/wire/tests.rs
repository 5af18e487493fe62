//! Frames over loopback sockets, from a peer that does what no good broker would.

use std::net::{Shutdown, TcpListener};
use std::thread::{self, JoinHandle};

use super::*;

const MOST: usize = 1 << 20;
const SOON: Duration = Duration::from_millis(300);
/// Only a test that fails waits so long.
const LONG: Duration = Duration::from_secs(20);

/// Waits look at Python's signals.
fn waiting(timeout: Duration) -> Patience {
    Python::initialize();
    Patience::new(timeout, None)
}

fn connect(port: u16, family: Family) -> Result<Stream, Error> {
    Stream::connect("127.0.0.1", port, family, None, &mut waiting(LONG))
}

/// Connect to a peer that a closure plays. It gets the socket back, so that closing is its own decision.
fn peer<T: Send + 'static>(
    play: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (Stream, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let played = thread::spawn(move || play(listener.accept().unwrap().0));
    (connect(port, Family::Any).unwrap(), played)
}

fn frame(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
}

fn receive(stream: &mut Stream, patience: &mut Patience) -> Result<Vec<u8>, Error> {
    let mut body = vec![0; stream.receive_length(MOST, patience)?];
    stream.fill(&mut body, patience).map(|()| body)
}

fn kind(error: &Error) -> Option<ErrorKind> {
    match error {
        Error::Io(error) => Some(error.kind()),
        _ => None,
    }
}

#[test]
fn frames_are_put_together_however_they_are_cut() {
    let body: Vec<u8> = (0..=255).collect();
    let sent = [frame(&body), frame(b""), frame(&body)].concat();
    for piece in [1, 3, 4, 5, 259, 260, 261, sent.len()] {
        let sent = sent.clone();
        let (mut stream, played) = peer(move |mut socket| {
            socket.set_nodelay(true).unwrap();
            for piece in sent.chunks(piece) {
                socket.write_all(piece).unwrap();
            }
            socket
        });
        for expected in [&body[..], b"", &body] {
            assert_eq!(receive(&mut stream, &mut waiting(LONG)).unwrap(), expected);
        }
        played.join().unwrap();
    }
}

#[test]
fn a_request_larger_than_every_buffer_arrives_whole() {
    let body = vec![7; 16 << 20];
    let expected = frame(&body);
    let (mut stream, played) = peer(|mut socket| {
        let mut all = Vec::new();
        socket.read_to_end(&mut all).map(|_| all).unwrap()
    });
    stream.send(&body, &mut waiting(LONG)).unwrap();
    stream.socket().unwrap().shutdown(Shutdown::Both).unwrap();
    assert!(played.join().unwrap() == expected);
}

#[test]
fn a_request_that_nobody_reads_times_out() {
    let (mut stream, played) = peer(|socket| socket);
    let error = stream.send(&vec![0; 64 << 20], &mut waiting(SOON));
    assert_eq!(kind(&error.unwrap_err()), Some(ErrorKind::TimedOut));
    played.join().unwrap();
}

#[test]
fn a_length_that_cannot_be_is_malformed() {
    for length in [-1, i32::MIN, i32::MAX, i32::try_from(MOST).unwrap() + 1] {
        let (mut stream, played) = peer(move |mut socket| {
            socket.write_all(&length.to_be_bytes()).unwrap();
            socket
        });
        let error = receive(&mut stream, &mut waiting(LONG)).unwrap_err();
        assert!(matches!(error, Error::Malformed(_)), "{error:?}");
        played.join().unwrap();
    }
}

#[test]
fn a_tls_alert_is_told_from_a_length() {
    let (mut stream, played) = peer(|mut socket| {
        socket.write_all(b"\x15\x03\x03\x00\x02\x02\x46").unwrap();
        socket
    });
    let error = receive(&mut stream, &mut waiting(LONG)).unwrap_err();
    let not_tls = TlsReason::NotTls;
    assert!(matches!(error, Error::Tls { reason, .. } if reason == not_tls));
    played.join().unwrap();
}

#[test]
fn a_peer_that_leaves_within_a_frame_has_closed_the_connection() {
    let whole = frame(b"answer");
    for cut in 0..whole.len() {
        let part = whole[..cut].to_vec();
        let (mut stream, played) = peer(move |mut socket| socket.write_all(&part).unwrap());
        let error = receive(&mut stream, &mut waiting(LONG)).unwrap_err();
        assert_eq!(kind(&error), Some(ErrorKind::ConnectionReset), "{cut}");
        played.join().unwrap();
    }
}

#[test]
fn silence_times_out_within_a_frame_too() {
    for sent in [&b""[..], b"\0\0", b"\0\0\0\x09half"] {
        let (mut stream, played) = peer(move |mut socket| {
            socket.write_all(sent).unwrap();
            socket
        });
        let error = receive(&mut stream, &mut waiting(SOON)).unwrap_err();
        assert_eq!(kind(&error), Some(ErrorKind::TimedOut));
        assert!(error.to_string().contains("nothing for 0.3 s"), "{error}");
        played.join().unwrap();
    }
}

#[test]
fn a_byte_now_and_then_does_not_keep_an_answer_alive() {
    let (mut stream, peer) = peer(|mut peer| {
        peer.write_all(&1000_u32.to_be_bytes()).unwrap();
        let began = Instant::now();
        while began.elapsed() < LONG && peer.write_all(&[0]).is_ok() {
            thread::sleep(SOON / 10);
        }
    });
    let mut patience = waiting(SOON);
    let length = stream.receive_length(MOST, &mut patience).unwrap();
    let error = stream
        .fill(&mut vec![0; length], &mut patience)
        .unwrap_err();
    assert!(error.to_string().contains("too slow"), "{error}");
    drop(stream);
    peer.join().unwrap();
}

#[test]
fn the_stop_flag_ends_every_wait() {
    Python::initialize();
    let stop = Arc::new(AtomicBool::new(true));
    let stopped = || Patience::new(LONG, Some(Arc::clone(&stop)));
    let (mut stream, played) = peer(|socket| socket);
    let began = Instant::now();
    assert!(matches!(
        receive(&mut stream, &mut stopped()),
        Err(Error::Stopped)
    ));
    assert!(matches!(
        stream.send(&vec![0; 64 << 20], &mut stopped()),
        Err(Error::Stopped)
    ));
    assert!(began.elapsed() < LONG / 2);
    played.join().unwrap();
}

#[test]
fn only_addresses_of_the_family_are_tried() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    assert!(connect(port, Family::V4).is_ok());
    let error = connect(port, Family::V6).err().unwrap();
    assert_eq!(kind(&error), Some(ErrorKind::NotFound));
    drop(listener);
    let error = connect(port, Family::Any).err().unwrap();
    assert_eq!(kind(&error), Some(ErrorKind::ConnectionRefused));
}

/// What a peer has done that sent so many bytes until now.
fn after(seconds: u64, moved: u64) -> Option<String> {
    let now = Instant::now();
    let mut patience = Patience::new(Duration::from_secs(30), None);
    patience.begun = now.checked_sub(Duration::from_secs(seconds)).unwrap();
    patience.last = now;
    patience.moved = moved;
    patience.complaint(now)
}

#[test]
fn an_answer_that_drips_ends() {
    assert_eq!(after(29, 29), None);
    for (seconds, moved) in [(31, 31), (1200, 1 << 20), (3600, 1 << 40)] {
        let said = after(seconds, moved).unwrap();
        assert_eq!(
            said,
            format!("the broker is too slow: {moved} bytes in {seconds}.0 s")
        );
    }
}

#[test]
fn a_slow_line_is_waited_for() {
    // 8 KiB a second, for as long as 4 MiB and 20 MiB take.
    assert_eq!(after(512, 4 << 20), None);
    assert_eq!(after(2560, 20 << 20), None);
}

/// Addresses of which the first ones never answer, and how connecting to them goes.
fn silent_then(port: u16, silent: u16) -> Vec<SocketAddr> {
    let ports = (1..=silent).chain([port]);
    ports
        .map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
        .collect()
}

fn to_silent(address: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    if address.port() > 10 {
        return TcpStream::connect_timeout(address, timeout);
    }
    thread::sleep(timeout);
    Err(ErrorKind::TimedOut.into())
}

#[test]
fn a_later_address_answers_while_the_first_are_silent() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for silent in [0, 1, 3] {
        let began = Instant::now();
        let connected = race(&silent_then(port, silent), to_silent, &mut waiting(LONG));
        assert_eq!(connected.unwrap().peer_addr().unwrap().port(), port);
        assert!(began.elapsed() < LONG / 2);
    }
}

#[test]
fn addresses_that_are_all_silent_time_out_together() {
    let began = Instant::now();
    let error = race(&silent_then(10, 4), to_silent, &mut waiting(SOON)).unwrap_err();
    assert_eq!(kind(&error), Some(ErrorKind::TimedOut));
    assert!(began.elapsed() < LONG / 2);
}

#[test]
fn the_first_refusal_is_told_when_all_refuse() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let addresses = [port, port].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let error = race(&addresses, to_silent, &mut waiting(LONG)).unwrap_err();
    assert_eq!(kind(&error), Some(ErrorKind::ConnectionRefused));
}
