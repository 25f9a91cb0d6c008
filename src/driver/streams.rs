//! The connections to servers that the endpoint asks for: opened, read, written and closed.

use core::task::{Context, Poll};
use core::time::Duration;
use std::collections::BTreeMap;

use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tracing::debug;

use super::connect::{Opened, Opening};
use super::shared::{Core, DataSent, Full};
use super::stream::{Sent, Stream};
use super::tls::Tls;
use crate::net::{Connect, ConnectFailure, ConnectId, SocketId, Transmit};

/// Connections at a time, those that open included.
const MAX_CONNECTIONS: usize = 16;
/// How long a connection may take to close.
const CLOSE: Duration = Duration::from_secs(1);

/// What a task of a connection came to.
enum Ended {
    Opened(ConnectId, Result<Opened, ConnectFailure>),
    Closed,
}

/// A connection that is being opened.
struct Pending {
    to: std::net::SocketAddr,
    task: AbortHandle,
}

/// All connections of a node to servers.
pub(super) struct Streams {
    open: Vec<Stream>,
    opening: BTreeMap<ConnectId, Pending>,
    tasks: JoinSet<Ended>,
    tls: Tls,
}

impl Streams {
    pub(super) fn new(tls: Tls) -> Self {
        Self { open: Vec::new(), opening: BTreeMap::new(), tasks: JoinSet::new(), tls }
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether no connection is open, being opened or being closed.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty() && self.tasks.is_empty()
    }

    /// Drops all connections, as they are.
    pub(super) fn end(&mut self) {
        self.tasks.abort_all();
        self.opening.clear();
        self.open.clear();
    }

    fn find(&mut self, id: SocketId) -> Option<&mut Stream> {
        self.open.iter_mut().find(|stream| stream.id == id)
    }
}

impl Core {
    /// Does what the endpoint wants done about connections, and tells it what came of them. Returns
    /// whether there is more to do or to read.
    pub(super) fn connect(&mut self, runtime: &Handle, cx: &mut Context<'_>) -> bool {
        while let Some(connect) = self.endpoint.poll_connect() {
            match connect {
                Connect::Open { id, from, to, transport, name } => {
                    let (tls, filter) = (self.streams.tls.clone(), self.filter.clone());
                    self.open(runtime, id, Opening { from, to, transport, name, tls, filter });
                }
                Connect::Cancel(id) => {
                    if let Some(pending) = self.streams.opening.remove(&id) {
                        pending.task.abort();
                    }
                }
                Connect::Close(id) => {
                    let open = &mut self.streams.open;
                    if let Some(index) = open.iter().position(|stream| stream.id == id) {
                        let stream = open.remove(index);
                        self.close_stream(runtime, stream);
                    }
                }
            }
        }
        let ended = self.finish_tasks(cx);
        self.drop_broken() || ended
    }

    fn open(&mut self, runtime: &Handle, id: ConnectId, opening: Opening) {
        if self.streams.open.len() + self.streams.opening.len() >= MAX_CONNECTIONS {
            let now = self.clock.now();
            let _ = self.endpoint.handle_connected(now, id, Err(ConnectFailure::Limit));
            return;
        }
        debug!(transport = %opening.transport, "opening a connection");
        let to = opening.to;
        let task = async move { Ended::Opened(id, opening.open().await) };
        let task = self.streams.tasks.spawn_on(task, runtime);
        self.streams.opening.insert(id, Pending { to, task });
    }

    fn close_stream(&mut self, runtime: &Handle, stream: Stream) {
        let closing = async move {
            let _ = timeout(CLOSE, stream.close()).await;
            Ended::Closed
        };
        let _ = self.streams.tasks.spawn_on(closing, runtime);
    }

    /// Takes what the tasks came to; returns whether there was any.
    fn finish_tasks(&mut self, cx: &mut Context<'_>) -> bool {
        let mut any = false;
        while let Poll::Ready(Some(ended)) = self.streams.tasks.poll_join_next_with_id(cx) {
            any = true;
            match ended {
                Ok((_, Ended::Opened(id, outcome))) => self.opened(id, outcome),
                Ok((_, Ended::Closed)) => {}
                Err(error) => {
                    // It was aborted, or it panicked: then the endpoint still waits for it.
                    let task = error.id();
                    let opening = &self.streams.opening;
                    let id = opening.iter().find(|(_, pending)| pending.task.id() == task);
                    if let Some(id) = id.map(|(id, _)| *id) {
                        self.opened(id, Err(ConnectFailure::Handshake));
                    }
                }
            }
        }
        any
    }

    fn opened(&mut self, id: ConnectId, outcome: Result<Opened, ConnectFailure>) {
        // One that was cancelled meanwhile is dropped, and closed with that.
        let Some(pending) = self.streams.opening.remove(&id) else { return };
        let now = self.clock.now();
        match outcome {
            Ok(Opened { local, io }) => {
                if let Some(socket) = self.endpoint.handle_connected(now, id, Ok(local)) {
                    self.streams.open.push(Stream::new(socket, local, pending.to, io));
                }
            }
            Err(failure) => {
                debug!(%failure, "no connection");
                let _ = self.endpoint.handle_connected(now, id, Err(failure));
            }
        }
    }

    /// Tells the endpoint of connections that broke; returns whether there was any.
    fn drop_broken(&mut self) -> bool {
        let now = self.clock.now();
        let before = self.streams.open.len();
        let endpoint = &mut self.endpoint;
        self.streams.open.retain(|stream| {
            if stream.broken {
                debug!("a connection to a server broke");
                endpoint.handle_disconnected(now, stream.id);
            }
            !stream.broken
        });
        self.streams.open.len() < before
    }

    /// Reads at most `slice` messages from one connection and returns how many there were; a read
    /// that brings none whole counts as one.
    pub(super) fn receive_stream(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        slice: usize,
    ) -> usize {
        let mut read = self.receive_messages(cx, index, slice);
        loop {
            let Some(stream) = self.streams.open.get_mut(index) else { return read };
            if stream.broken {
                return read;
            }
            let (id, local, server) = (stream.id, stream.local, stream.server);
            let mut deframer = core::mem::take(&mut stream.deframer);
            let mut followed = true;
            while read < slice {
                match deframer.next_message() {
                    Ok(Some(message)) => {
                        read += 1;
                        self.handle(id, local, server, message);
                    }
                    Ok(None) => break,
                    Err(error) => {
                        debug!(%error, "closing a connection");
                        followed = false;
                        break;
                    }
                }
            }
            let Some(stream) = self.streams.open.get_mut(index) else { return read };
            stream.deframer = deframer;
            stream.broken |= !followed;
            if read >= slice || stream.broken || stream.poll_read(cx).is_pending() {
                return read;
            }
            read += 1;
        }
    }

    /// The same from a connection that keeps messages apart by itself; none from another.
    fn receive_messages(&mut self, cx: &mut Context<'_>, index: usize, slice: usize) -> usize {
        let mut buffer = core::mem::take(&mut self.buffer);
        let mut read = 0;
        while read < slice {
            let Some(stream) = self.streams.open.get_mut(index) else { break };
            let Some(Poll::Ready(octets)) = stream.poll_message(cx, &mut buffer) else { break };
            let (id, local, server) = (stream.id, stream.local, stream.server);
            if stream.broken {
                break;
            }
            read += 1;
            self.handle(id, local, server, buffer.get(..octets).unwrap_or_default());
        }
        self.buffer = buffer;
        read
    }

    /// Writes what waits for connections that were full.
    pub(super) fn flush_streams(&mut self, cx: &mut Context<'_>) {
        for stream in &mut self.streams.open {
            let _ = stream.poll_flush(cx);
        }
    }

    /// Sends a packet of the endpoint over a connection; `None` if there is no such connection.
    pub(super) fn send_on_stream(&mut self, transmit: &Transmit, packet: &[u8]) -> Option<()> {
        let stream = self.streams.find(transmit.socket)?;
        let (local, server) = (stream.local, stream.server);
        if !self.may_pass(local, server) {
            self.stats.filtered = self.stats.filtered.saturating_add(1);
            return Some(());
        }
        let sent = self.streams.find(transmit.socket)?.send_or_keep(packet);
        self.stats.count_sent(sent);
        Some(())
    }

    /// Sends application data over a connection.
    pub(super) fn send_data_on_stream(&mut self, transmit: &Transmit, packet: &[u8]) -> DataSent {
        let Some(stream) = self.streams.find(transmit.socket) else { return DataSent::Done };
        let (local, server) = (stream.local, stream.server);
        if !self.may_pass(local, server) {
            self.stats.filtered = self.stats.filtered.saturating_add(1);
            return DataSent::Done;
        }
        let Some(stream) = self.streams.find(transmit.socket) else { return DataSent::Done };
        let sent = stream.send(packet);
        let left = stream.broken || stream.is_waiting();
        if left {
            self.wake_driver();
        }
        match sent {
            Sent::Done => self.stats.count_sent(true),
            Sent::Lost | Sent::Broken => self.stats.count_sent(false),
            Sent::Full(room) => return DataSent::Full(Full::Stream(room)),
        }
        DataSent::Done
    }
}
