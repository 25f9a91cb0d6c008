//! Watching the network of the machine: what changes there becomes sockets that come and go.

use core::time::Duration;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use tokio::sync::{Notify, watch};
use tokio::time::{interval, timeout};
use tracing::{info, warn};

use super::changes::Changes;
use super::error::BindError;
use super::interfaces::Base;
use super::shared::{Core, Shared};
use super::socket::{bind, is_one_host};

/// How long a change has to come to rest, as it comes in pieces; twice as long after each one that
/// led to something.
const SETTLE: Duration = Duration::from_millis(100);
/// The longest of these times: a link that comes and goes is not followed each time.
const SETTLE_MOST: Duration = Duration::from_millis(3_200);
/// How long errors of sends are no reason to look again after they were: a destination without a
/// route makes them each time.
const HINTS_REST: Duration = Duration::from_secs(5);

/// What a change of the network meant for a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetworkChange {
    /// The addresses of the sockets that were bound.
    pub added: Vec<SocketAddr>,
    /// The addresses of those that were closed, as the machine does not have them any more.
    pub removed: Vec<SocketAddr>,
}

impl NetworkChange {
    /// Whether the addresses are the same as before.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

/// Follows the network until the driver ends. [rfc8445-5.1.1.4-3]
pub(super) async fn follow(
    shared: Weak<Shared>,
    mut changes: Changes,
    hints: Arc<Notify>,
    mut running: watch::Receiver<()>,
) {
    let mut settle = SETTLE;
    let mut rest = interval(HINTS_REST);
    let mut heeded = true;
    loop {
        tokio::select! {
            _ = running.changed() => return,
            () = changes.next() => {}
            () = hints.notified(), if heeded => {
                heeded = false;
                rest.reset();
            }
            _ = rest.tick(), if !heeded => {
                heeded = true;
                continue;
            }
        }
        if timeout(settle, running.changed()).await.is_ok() {
            return;
        }
        changes.drain();
        let Some(shared) = shared.upgrade() else { return };
        let change = renew(&shared).await;
        settle = if change.is_empty() { SETTLE } else { (settle * 2).min(SETTLE_MOST) };
    }
}

/// Binds a socket to each address that is new, and closes those whose address is gone: in this
/// order, so that there is a way for what moves.
pub(super) async fn renew(shared: &Arc<Shared>) -> NetworkChange {
    let bases = match shared.options.bases().await {
        Ok(bases) => bases,
        Err(BindError::Interfaces(_)) => Vec::new(),
        Err(error) => {
            warn!(%error, "the addresses are not known");
            return NetworkChange::default();
        }
    };
    let mut core = shared.lock();
    if core.closing {
        return NetworkChange::default();
    }
    let _runtime = shared.runtime.enter();
    let change =
        NetworkChange { added: add(&mut core, &bases), removed: remove(&mut core, &bases) };
    if !change.is_empty() {
        let (added, removed) = (change.added.len(), change.removed.len());
        info!(added, removed, "the addresses changed");
        core.mdns_follow();
        core.dispatch(shared);
        core.wake_driver();
    }
    change
}

fn add(core: &mut Core, bases: &[Base]) -> Vec<SocketAddr> {
    let set = core.sockets.iter().map(|socket| socket.set).max().unwrap_or(0);
    let mut added = Vec::new();
    for base in bases {
        if core.sockets.iter().any(|socket| is_one_host(socket.address, base.address)) {
            continue;
        }
        let socket = bind(base.address);
        match socket.and_then(|socket| core.add_socket(socket, base, set)) {
            Ok(()) => added.extend(core.sockets.last().map(|socket| socket.address)),
            Err(error) => warn!(interface = base.interface, %error, "cannot bind"),
        }
    }
    added
}

fn remove(core: &mut Core, bases: &[Base]) -> Vec<SocketAddr> {
    let is_there = |address: &SocketAddr| bases.iter().any(|b| is_one_host(b.address, *address));
    let addresses = core.sockets.iter().map(|socket| socket.address);
    let removed: Vec<SocketAddr> = addresses.filter(|address| !is_there(address)).collect();
    if !removed.is_empty() {
        core.keep_sockets(|socket| is_there(&socket.address));
    }
    removed
}
