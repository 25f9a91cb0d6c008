//! Signalling as JSON lines over a byte stream: a pipe, a TCP connection, stdin and stdout.

use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, Stdin, Stdout};

use super::{MAX_SIGNAL, Signal, SignalError, Signaling, SignalingError};

/// Reads lines of at most [`MAX_SIGNAL`] octets.
///
/// A longer line is skipped to its end and reported once; memory stays bounded.
#[derive(Debug)]
pub struct LineReader<R> {
    reader: R,
    buffer: Vec<u8>,
    /// Octets at the front of the buffer that belong to the line returned last.
    consumed: usize,
    /// Octets after `consumed` that hold no line break.
    searched: usize,
    skipping: bool,
    ended: bool,
}

/// What [`LineReader`] reads at a time, in octets.
const CHUNK: usize = 4096;

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// Reads from `reader`.
    pub fn new(reader: R) -> Self {
        let buffer = Vec::new();
        Self { reader, buffer, consumed: 0, searched: 0, skipping: false, ended: false }
    }

    /// Returns the next line without its line break; `None` at the end. A last line need not be
    /// terminated. Nothing is lost when this is polled and dropped.
    pub fn poll_line(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<String, SignalingError>>> {
        loop {
            if let Some(line) = self.take_line() {
                return Poll::Ready(Some(line));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            let mut chunk = [0; CHUNK];
            let mut read = ReadBuf::new(&mut chunk);
            if let Err(error) = ready!(Pin::new(&mut self.reader).poll_read(cx, &mut read)) {
                self.ended = true;
                return Poll::Ready(Some(Err(SignalingError::Io(error))));
            }
            if read.filled().is_empty() {
                self.ended = true;
            }
            self.buffer.extend_from_slice(read.filled());
        }
    }

    /// Waits for the next line; see [`poll_line`](Self::poll_line).
    pub async fn next_line(&mut self) -> Option<Result<String, SignalingError>> {
        core::future::poll_fn(|cx| self.poll_line(cx)).await
    }

    fn take_line(&mut self) -> Option<Result<String, SignalingError>> {
        loop {
            self.buffer.drain(..self.consumed.min(self.buffer.len()));
            self.consumed = 0;
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            let Some(end) = unsearched.iter().position(|octet| *octet == b'\n') else {
                return self.take_unterminated();
            };
            let end = self.searched + end;
            self.consumed = end + 1;
            self.searched = 0;
            if core::mem::take(&mut self.skipping) {
                continue;
            }
            let line = self.buffer.get(..end).unwrap_or_default();
            if line.len() <= MAX_SIGNAL && line.trim_ascii().is_empty() {
                continue;
            }
            return Some(text(line));
        }
    }

    /// Handles a buffer without a line break: too long, the last line, or incomplete.
    fn take_unterminated(&mut self) -> Option<Result<String, SignalingError>> {
        self.searched = self.buffer.len();
        if self.buffer.len() > MAX_SIGNAL {
            self.buffer.clear();
            self.searched = 0;
            let reported = core::mem::replace(&mut self.skipping, true);
            return (!reported).then_some(Err(SignalError::TooLong { max: MAX_SIGNAL }.into()));
        }
        if self.ended && !self.skipping && !self.buffer.trim_ascii().is_empty() {
            self.searched = 0;
            let line = core::mem::take(&mut self.buffer);
            return Some(text(&line));
        }
        None
    }
}

fn text(line: &[u8]) -> Result<String, SignalingError> {
    if line.len() > MAX_SIGNAL {
        return Err(SignalError::TooLong { max: MAX_SIGNAL }.into());
    }
    match core::str::from_utf8(line) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(_) => Err(SignalError::NotUtf8.into()),
    }
}

/// Signals as JSON lines over a reader and a writer.
#[derive(Debug)]
pub struct JsonLines<R, W> {
    lines: LineReader<R>,
    writer: W,
    unwritten: Vec<u8>,
    written: usize,
}

impl<R: AsyncRead + Unpin + Send, W: AsyncWrite + Unpin + Send> JsonLines<R, W> {
    /// Receives from `reader` and sends to `writer`.
    pub fn new(reader: R, writer: W) -> Self {
        Self { lines: LineReader::new(reader), writer, unwritten: Vec::new(), written: 0 }
    }
}

/// Signals over stdin and stdout.
#[must_use]
pub fn stdio() -> JsonLines<Stdin, Stdout> {
    JsonLines::new(tokio::io::stdin(), tokio::io::stdout())
}

impl<R: AsyncRead + Unpin + Send, W: AsyncWrite + Unpin + Send> JsonLines<R, W> {
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SignalingError>> {
        while let Some(rest) = self.unwritten.get(self.written..).filter(|rest| !rest.is_empty()) {
            let written = ready!(Pin::new(&mut self.writer).poll_write(cx, rest))
                .map_err(SignalingError::Io)?;
            if written == 0 {
                return Poll::Ready(Err(SignalingError::Io(io::ErrorKind::WriteZero.into())));
            }
            self.written += written;
        }
        self.unwritten.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<R: AsyncRead + Unpin + Send, W: AsyncWrite + Unpin + Send> Signaling for JsonLines<R, W> {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        signal: &mut Option<Signal>,
    ) -> Poll<Result<(), SignalingError>> {
        if signal.is_none() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_write(cx))?;
        let Some(signal) = signal.take() else { return Poll::Ready(Ok(())) };
        let line = signal.to_json();
        if line.len() > MAX_SIGNAL {
            return Poll::Ready(Err(SignalError::TooLong { max: MAX_SIGNAL }.into()));
        }
        self.unwritten.extend_from_slice(line.as_bytes());
        self.unwritten.push(b'\n');
        match self.poll_write(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(())),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SignalingError>> {
        ready!(self.poll_write(cx))?;
        Pin::new(&mut self.writer).poll_flush(cx).map_err(SignalingError::Io)
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Signal, SignalingError>>> {
        Poll::Ready(ready!(self.lines.poll_line(cx)).map(|line| {
            line.and_then(|line| Signal::from_json(&line).map_err(SignalingError::Signal))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signaling::SignalingExt;

    fn offer(sdp: &str) -> Signal {
        Signal::Offer { sdp: sdp.into() }
    }

    #[tokio::test]
    async fn signals_cross_a_byte_stream() {
        let (near, far) = tokio::io::duplex(16);
        let (near_read, near_write) = tokio::io::split(near);
        let (far_read, far_write) = tokio::io::split(far);
        let mut left = JsonLines::new(near_read, near_write);
        let mut right = JsonLines::new(far_read, far_write);
        let signal = offer("longer than the pipe is wide, so it takes several writes");
        let (sent, received) = tokio::join!(left.send(signal.clone()), right.recv());
        sent.unwrap();
        assert_eq!(received.unwrap().unwrap(), signal);
    }

    /// Whether the end of such a line came with the octet that was too much, or later.
    #[tokio::test]
    async fn blanks_over_the_limit_are_reported_whenever_the_line_ends() {
        for length in [MAX_SIGNAL + 1, MAX_SIGNAL + CHUNK] {
            let mut input = " ".repeat(length).into_bytes();
            input.extend_from_slice(b"\n{\"type\":\"offer\",\"sdp\":\"next\"}\n");
            let mut lines = JsonLines::new(&input[..], tokio::io::sink());
            let error = lines.recv().await.unwrap().unwrap_err();
            assert!(matches!(error, SignalingError::Signal(SignalError::TooLong { .. })));
            assert_eq!(lines.recv().await.unwrap().unwrap(), offer("next"));
        }
    }

    #[tokio::test]
    async fn a_line_over_the_limit_is_skipped_and_reported_once() {
        let mut input = "x".repeat(3 * MAX_SIGNAL).into_bytes();
        input.extend_from_slice(b"\n\r\n\xff\n{\"type\":\"offer\",\"sdp\":\"last\"}");
        let mut lines = JsonLines::new(&input[..], tokio::io::sink());
        let error = lines.recv().await.unwrap().unwrap_err();
        assert!(!error.is_fatal());
        assert!(matches!(error, SignalingError::Signal(SignalError::TooLong { max: MAX_SIGNAL })));
        let error = lines.recv().await.unwrap().unwrap_err();
        assert!(matches!(error, SignalingError::Signal(SignalError::NotUtf8)));
        assert_eq!(lines.recv().await.unwrap().unwrap(), offer("last"));
        assert!(lines.recv().await.is_none());
    }
}
