//! Claims about signals that come as lines of a stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use floe::signaling::lines::LineReader;
use floe::signaling::{MAX_SIGNAL, SignalError, SignalingError};
use tokio::io::{AsyncRead, ReadBuf};

use super::Input;

/// A stream gives the same lines however it is split, and they are what is between its line
/// breaks: no blank ones, none longer than a signal may be, and text alone. The first octet says
/// how many lengths of pieces follow it; then come octets, each with how often it is repeated.
pub fn signal_lines(data: &[u8]) {
    let mut input = Input(data);
    let pieces = input.chunk();
    let mut stream = Vec::new();
    while !input.is_empty() && stream.len() < 4 * MAX_SIGNAL {
        let [octet, times] = input.array();
        // Up to 63, or up to 16 times as long as a signal may be.
        let count = if times < 64 { usize::from(times) } else { usize::from(times & 63) << 10 };
        stream.resize(stream.len() + count.max(1), octet);
    }
    let expected: Vec<_> = stream.split(|octet| *octet == b'\n').filter_map(line).collect();
    let mut lines = Vec::new();
    let scale = if stream.len() < 4096 { 0 } else { 6 };
    let mut reader = LineReader::new(Pieces { stream: &stream, pieces, at: 0, scale });
    let mut polls = 0;
    loop {
        match reader.poll_line(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(Ok(line))) => lines.push(Ok(line)),
            Poll::Ready(Some(Err(SignalingError::Signal(error)))) => lines.push(Err(error)),
            Poll::Ready(Some(Err(error))) => panic!("{error}"),
            Poll::Ready(None) => break,
            Poll::Pending => polls += 1,
        }
        assert!(polls + lines.len() <= 2 * stream.len() + 2, "no way forward");
    }
    assert_eq!(lines.len(), expected.len());
    assert!(lines == expected, "other lines");
}

/// What a line is, if it is anything.
fn line(octets: &[u8]) -> Option<Result<String, SignalError>> {
    if octets.len() > MAX_SIGNAL {
        return Some(Err(SignalError::TooLong { max: MAX_SIGNAL }));
    }
    if octets.trim_ascii().is_empty() {
        return None;
    }
    let text = core::str::from_utf8(octets).map_err(|_| SignalError::NotUtf8);
    Some(text.map(|text| text.trim().to_owned()))
}

/// A stream that comes in pieces of such lengths, over and over; 0 is one that is not there yet.
struct Pieces<'a> {
    stream: &'a [u8],
    pieces: &'a [u8],
    at: usize,
    scale: u8,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let at = self.at;
        self.at += 1;
        let length = match self.pieces.get(at % self.pieces.len().max(1)) {
            // Of every two that are not there yet, one comes.
            Some(0) if at.is_multiple_of(2) => return Poll::Pending,
            // Longer ones of a long stream, for it to come to its end.
            Some(&length) if length != 0 => usize::from(length) << self.scale,
            _ => usize::MAX,
        };
        let (piece, later) =
            self.stream.split_at(length.min(buf.remaining()).min(self.stream.len()));
        buf.put_slice(piece);
        self.stream = later;
        Poll::Ready(Ok(()))
    }
}
