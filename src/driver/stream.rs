//! One connection to a server: messages in and out of a stream of octets.

use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::framing::Deframer;
use crate::net::SocketId;

/// Octets kept for a connection that takes no more; messages are dropped beyond, the newest first.
const MAX_WAITING: usize = 64 * 1024;
/// What is read at a time, at least.
const READ: usize = 4096;

/// A stream of octets, both ways.
pub(super) trait Octets: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Octets for T {}

/// A connection that keeps messages apart by itself.
pub(super) trait Datagrams: Send {
    /// Reads a message; `None` once the connection is over.
    fn poll_recv(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<Option<usize>>;

    /// Sends a message; returns whether it left, `None` once the connection is over.
    fn send(&mut self, message: &[u8]) -> Option<bool>;

    /// Says farewell, without waiting for an answer.
    fn close(&mut self);
}

/// What octets travel over.
pub(super) enum Io {
    Octets(Box<dyn Octets>),
    #[cfg_attr(not(feature = "dtls"), expect(dead_code, reason = "DTLS alone is so"))]
    Datagrams(Box<dyn Datagrams>),
}

/// What became of a message.
#[derive(Debug)]
pub(super) enum Sent {
    /// It is on its way, if only in part: the driver sends the rest.
    Done,
    /// It is lost, as any datagram may be.
    Lost,
    /// It was not taken: what was sent before is still waiting.
    Full(OwnedNotified),
    /// The connection is over.
    Broken,
}

/// A connection to a server.
pub(super) struct Stream {
    pub(super) id: SocketId,
    pub(super) local: SocketAddr,
    pub(super) server: SocketAddr,
    pub(super) deframer: Deframer,
    /// Nothing can be read or written any more.
    pub(super) broken: bool,
    io: Io,
    /// What was taken but not written: the rest of a message, and whole messages after it.
    waiting: Vec<u8>,
    /// How much of it was written since.
    written: usize,
    /// What was written may still be in the stream's own buffer.
    unflushed: bool,
    /// Told when there is room again.
    room: Arc<Notify>,
}

impl Stream {
    pub(super) fn new(id: SocketId, local: SocketAddr, server: SocketAddr, io: Io) -> Self {
        Self {
            id,
            local,
            server,
            deframer: Deframer::new(),
            broken: false,
            io,
            waiting: Vec::new(),
            written: 0,
            unflushed: false,
            room: Arc::new(Notify::new()),
        }
    }

    /// Reads one message of a connection that keeps them apart; `None` if it does not.
    pub(super) fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Option<Poll<usize>> {
        let Io::Datagrams(io) = &mut self.io else { return None };
        Some(io.poll_recv(cx, buf).map(|read| {
            self.broken |= read.is_none();
            read.unwrap_or(0)
        }))
    }

    /// Reads more octets into the deframer; pending where there are none now.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Io::Octets(io) = &mut self.io else { return Poll::Pending };
        let mut room = ReadBuf::new(self.deframer.room(READ));
        let read = core::task::ready!(Pin::new(io).poll_read(cx, &mut room));
        let octets = room.filled().len();
        match read {
            Ok(()) if octets > 0 => self.deframer.filled(octets),
            Ok(()) | Err(_) => self.broken = true,
        }
        Poll::Ready(())
    }

    /// Whether something waits to be written; then the driver is to call
    /// [`poll_flush`](Self::poll_flush).
    pub(super) fn is_waiting(&self) -> bool {
        self.unflushed || self.written < self.waiting.len()
    }

    /// Writes a message, or as much of it as goes now; the rest follows before any other. Takes
    /// none while an earlier one waits.
    pub(super) fn send(&mut self, message: &[u8]) -> Sent {
        if self.broken {
            return Sent::Broken;
        }
        if self.is_waiting() {
            return Sent::Full(Arc::clone(&self.room).notified_owned());
        }
        let io = match &mut self.io {
            Io::Octets(io) => io,
            Io::Datagrams(io) => {
                let sent = io.send(message);
                self.broken |= sent.is_none();
                return match sent {
                    Some(true) => Sent::Done,
                    Some(false) => Sent::Lost,
                    None => Sent::Broken,
                };
            }
        };
        // Nobody is to be woken: the driver asks again where something is left.
        let mut cx = Context::from_waker(Waker::noop());
        let octets = match Pin::new(io).poll_write(&mut cx, message) {
            Poll::Ready(Ok(octets)) if octets > 0 => octets,
            Poll::Ready(Ok(_) | Err(_)) => {
                self.broken = true;
                return Sent::Broken;
            }
            Poll::Pending => 0,
        };
        self.unflushed = true;
        self.waiting.extend_from_slice(message.get(octets..).unwrap_or_default());
        if self.waiting.is_empty() {
            let _ = self.flush_inner(&mut cx);
        }
        Sent::Done
    }

    /// Sends a message, or keeps it until there is room; returns whether it was not dropped.
    pub(super) fn send_or_keep(&mut self, message: &[u8]) -> bool {
        match self.send(message) {
            Sent::Done => true,
            Sent::Lost | Sent::Broken => false,
            Sent::Full(_) => {
                let kept = self.waiting.len() - self.written;
                let fits = kept.saturating_add(message.len()) <= MAX_WAITING;
                if fits {
                    self.waiting.drain(..self.written);
                    self.written = 0;
                    self.waiting.extend_from_slice(message);
                }
                fits
            }
        }
    }

    /// Writes what waits; ready when nothing does any more.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_waiting() || self.broken {
            return Poll::Ready(());
        }
        let Io::Octets(io) = &mut self.io else { return Poll::Ready(()) };
        while let Some(rest) = self.waiting.get(self.written..).filter(|rest| !rest.is_empty()) {
            match core::task::ready!(Pin::new(&mut *io).poll_write(cx, rest)) {
                Ok(octets) if octets > 0 => self.written += octets,
                Ok(_) | Err(_) => {
                    self.broken = true;
                    return Poll::Ready(());
                }
            }
        }
        self.waiting.clear();
        self.written = 0;
        core::task::ready!(self.flush_inner(cx));
        self.room.notify_waiters();
        Poll::Ready(())
    }

    fn flush_inner(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Io::Octets(io) = &mut self.io else { return Poll::Ready(()) };
        match core::task::ready!(Pin::new(io).poll_flush(cx)) {
            Ok(()) => self.unflushed = false,
            Err(_) => self.broken = true,
        }
        Poll::Ready(())
    }

    /// Writes what waits and ends the connection as its protocol has it.
    pub(super) async fn close(mut self) {
        core::future::poll_fn(|cx| self.poll_flush(cx)).await;
        match &mut self.io {
            Io::Octets(_) | Io::Datagrams(_) if self.broken => {}
            Io::Octets(io) => {
                let _ = io.shutdown().await;
            }
            Io::Datagrams(io) => io.close(),
        }
    }
}

impl Drop for Stream {
    /// Those who wait for room look for another way.
    fn drop(&mut self) {
        self.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use tokio::io::{AsyncReadExt, DuplexStream, duplex};

    use super::*;

    /// ChannelData of `length` octets, padded.
    fn message(octet: u8, length: u16) -> Vec<u8> {
        let mut message = vec![0x40, octet];
        message.extend(length.to_be_bytes());
        message.resize(4 + usize::from(length).next_multiple_of(4), octet);
        message
    }

    /// A connection with little room on the way, and the server's end of it.
    fn stream(room: usize) -> (Stream, DuplexStream) {
        let (near, far) = duplex(room);
        let address = SocketAddr::from(([127, 0, 0, 1], 9));
        (Stream::new(SocketId(1), address, address, Io::Octets(Box::new(near))), far)
    }

    async fn flush(stream: &mut Stream) {
        core::future::poll_fn(|cx| stream.poll_flush(cx)).await;
    }

    #[tokio::test]
    async fn a_message_that_was_written_in_part_is_finished_before_the_next() {
        let (mut stream, mut far) = stream(7);
        let messages = [message(1, 40), message(2, 8), message(3, 12)];
        for message in &messages {
            assert!(stream.send_or_keep(message));
        }
        let all = messages.concat();
        let mut read = vec![0; all.len()];
        let (result, ()) = tokio::join!(far.read_exact(&mut read), flush(&mut stream));
        result.unwrap();
        assert_eq!(read, all);
        assert!(!stream.is_waiting());
    }

    #[tokio::test]
    async fn what_has_no_room_is_dropped_whole_and_the_newest_first() {
        let (mut stream, mut far) = stream(64);
        let mut kept = Vec::new();
        let mut dropped = 0;
        for n in 0..100 {
            let message = message(n, 1200);
            if stream.send_or_keep(&message) {
                kept.extend(message);
            } else {
                dropped += 1;
            }
        }
        assert!(dropped > 0 && kept.len() <= MAX_WAITING + 64 + 1204);
        assert!(stream.waiting.len() <= MAX_WAITING);
        let mut read = vec![0; kept.len()];
        let (result, ()) = tokio::join!(far.read_exact(&mut read), flush(&mut stream));
        result.unwrap();
        assert_eq!(read, kept);
        assert!(stream.send_or_keep(&message(1, 4)));
    }

    #[tokio::test]
    async fn who_finds_no_room_is_told_when_there_is() {
        let (mut stream, mut far) = stream(16);
        assert!(matches!(stream.send(&message(1, 100)), Sent::Done));
        let Sent::Full(room) = stream.send(&message(2, 4)) else { panic!("not full") };
        let mut read = [0; 104];
        let (result, (), ()) = tokio::join!(far.read_exact(&mut read), flush(&mut stream), room);
        result.unwrap();
        assert!(matches!(stream.send(&message(2, 4)), Sent::Done));
    }

    #[tokio::test]
    async fn who_waits_for_room_does_not_wait_for_a_connection_that_is_gone() {
        let (mut stream, far) = stream(16);
        assert!(matches!(stream.send(&message(1, 100)), Sent::Done));
        let Sent::Full(room) = stream.send(&message(2, 4)) else { panic!("not full") };
        drop((stream, far));
        tokio::time::timeout(Duration::from_secs(5), room).await.unwrap();
    }

    #[tokio::test]
    async fn a_message_that_comes_octet_by_octet_is_whole_in_the_end() {
        let (mut stream, mut far) = stream(1);
        let sent = [message(1, 3), message(2, 0), message(3, 1200)].concat();
        let expected = [vec![0x40, 1, 0, 3, 1, 1, 1], message(2, 0), message(3, 1200)];
        let writing = async {
            for octet in &sent {
                far.write_all(&[*octet]).await.unwrap();
            }
        };
        let reading = async {
            let mut messages = Vec::new();
            while messages.len() < expected.len() {
                core::future::poll_fn(|cx| stream.poll_read(cx)).await;
                while let Some(message) = stream.deframer.next_message().unwrap() {
                    messages.push(message.to_vec());
                }
            }
            messages
        };
        assert_eq!(tokio::join!(writing, reading).1, expected);
    }

    #[tokio::test]
    async fn the_end_of_the_stream_breaks_the_connection() {
        let (mut stream, far) = stream(16);
        drop(far);
        core::future::poll_fn(|cx| stream.poll_read(cx)).await;
        assert!(stream.broken);
        assert!(matches!(stream.send(b"late"), Sent::Broken));
        flush(&mut stream).await;
    }

    #[tokio::test]
    async fn closing_writes_what_waits_first() {
        let (mut stream, mut far) = stream(8);
        let message = message(7, 100);
        assert!(stream.send_or_keep(&message));
        let mut read = Vec::new();
        let (result, ()) = tokio::join!(far.read_to_end(&mut read), stream.close());
        result.unwrap();
        assert_eq!(read, message);
    }
}
