//! The task that drives an endpoint: reads its sockets, fires its timers, sends its packets.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Sleep;
use tracing::debug;

use super::shared::{Core, Shared};
use crate::time::Instant;

/// Turns without a pause before other tasks have their go.
const ROUNDS: usize = 16;
/// Turns that timers wait for sockets which are never drained.
const PATIENCE: u32 = 4;

/// How long servers are told that their relays are not needed any more.
const FAREWELL: Duration = Duration::from_secs(1);

/// The driver of one node; ends when no handle is left, and its sockets with it.
pub(super) struct Driver {
    shared: Arc<Shared>,
    sleep: Pin<Box<Sleep>>,
    patience: Patience,
    /// When it ends, once no handle is left.
    ends: Option<Instant>,
    /// Closed when the driver ended.
    _running: Arc<watch::Sender<()>>,
}

/// How long timers and packets wait for sockets to run dry.
#[derive(Debug, Default)]
struct Patience {
    undrained: u32,
}

impl Patience {
    /// Whether it is time for timers and packets after a turn of reading.
    fn is_over(&mut self, drained: bool) -> bool {
        self.undrained = if drained { 0 } else { self.undrained.saturating_add(1) };
        let over = drained || self.undrained > PATIENCE;
        if over {
            self.undrained = 0;
        }
        over
    }
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>, running: Arc<watch::Sender<()>>) -> Self {
        let sleep = Box::pin(tokio::time::sleep(Duration::ZERO));
        Self { shared, sleep, patience: Patience::default(), ends: None, _running: running }
    }

    /// One turn: sockets, then timers, then packets, then events, then connections. Returns
    /// whether there is nothing more to read.
    ///
    /// Reading comes first so that an answer that has already arrived is not taken for missing;
    /// sockets that never run dry hold up the timers, and the packets, whose making looks at the
    /// timers, for a few turns only. What an event makes the application send comes after what the
    /// core sends: a peer may take data only once its own check was answered.
    fn turn(&mut self, core: &mut Core, cx: &mut Context<'_>) -> bool {
        core.clock.sync();
        let drained = core.receive(cx);
        if self.patience.is_over(drained) {
            let now = core.clock.now();
            if core.endpoint.poll_timeout().is_some_and(|at| at <= now) {
                core.endpoint.handle_timeout(now);
            }
            core.send_backlog(cx);
            core.send(now);
            core.dispatch(&self.shared);
        }
        // A packet that found its socket full registers for writability.
        core.send_backlog(cx);
        let more = core.connect(&self.shared.runtime, cx);
        drained && !more
    }

    /// Whether all is done after the last handle is gone: every connection is closed, and the
    /// servers have taken back their relays or do not answer.
    fn is_over(&mut self, core: &mut Core) -> bool {
        let now = core.clock.now();
        let Some(ends) = self.ends else {
            self.ends = Some(now + FAREWELL);
            core.close_all();
            return core.is_idle();
        };
        now >= ends || core.is_idle()
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let shared = Arc::clone(&this.shared);
        let mut core = shared.lock();
        core.set_driver(cx.waker());
        for _ in 0..ROUNDS {
            if core.closing && this.is_over(&mut core) {
                return Poll::Ready(());
            }
            let drained = this.turn(&mut core, cx);
            if core.closing && core.is_idle() {
                continue;
            }
            let Some(at) = core.endpoint.poll_timeout().into_iter().chain(this.ends).min() else {
                if drained {
                    return Poll::Pending;
                }
                continue;
            };
            if !drained || at <= core.clock.now() {
                continue;
            }
            this.sleep.as_mut().reset(core.clock.deadline(at));
            if this.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        // Busy: let others run, and come back.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Driver {
    /// Ends all connections: nobody drives them any more.
    fn drop(&mut self) {
        let mut core = self.shared.lock();
        core.closing = true;
        core.close_all();
        core.mdns_end();
        core.sockets.clear();
        core.streams.end();
        debug!("driver ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_wait_for_sockets_with_something_to_read_but_not_for_ever() {
        let mut patience = Patience::default();
        for _ in 0..3 {
            for _ in 0..PATIENCE {
                assert!(!patience.is_over(false));
            }
            assert!(patience.is_over(false));
        }
        assert!(!patience.is_over(false));
        assert!(patience.is_over(true));
    }
}
