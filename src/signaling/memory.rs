//! Signalling within one process.

use core::task::{Context, Poll, Waker};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Signal, Signaling, SignalingError};

/// One direction of a pair.
#[derive(Debug, Default)]
struct Lane {
    signals: VecDeque<Signal>,
    capacity: usize,
    closed: bool,
    sender: Option<Waker>,
    receiver: Option<Waker>,
}

type Shared = Arc<Mutex<Lane>>;

/// One end of an in-memory channel; see [`pair`].
#[derive(Debug)]
pub struct Memory {
    outgoing: Shared,
    incoming: Shared,
}

/// Makes a channel whose ends talk to each other and hold back at most `capacity` signals (at
/// least 1) in each direction.
///
/// Dropping an end closes both directions: what was sent is still received, then comes `None`.
#[must_use]
pub fn pair(capacity: usize) -> (Memory, Memory) {
    let lane = || Arc::new(Mutex::new(Lane { capacity: capacity.max(1), ..Lane::default() }));
    let (there, back) = (lane(), lane());
    (
        Memory { outgoing: Arc::clone(&there), incoming: Arc::clone(&back) },
        Memory { outgoing: back, incoming: there },
    )
}

impl Memory {
    /// Whether the other end was dropped; there may still be signals to receive.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        lock(&self.outgoing).closed
    }
}

fn lock(lane: &Shared) -> MutexGuard<'_, Lane> {
    lane.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Signaling for Memory {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        signal: &mut Option<Signal>,
    ) -> Poll<Result<(), SignalingError>> {
        if signal.is_none() {
            return Poll::Ready(Ok(()));
        }
        let mut lane = lock(&self.outgoing);
        if lane.closed {
            return Poll::Ready(Err(SignalingError::Closed));
        }
        if lane.signals.len() >= lane.capacity {
            lane.sender = Some(cx.waker().clone());
            return Poll::Pending;
        }
        lane.signals.extend(signal.take());
        wake(lane.receiver.take());
        Poll::Ready(Ok(()))
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Signal, SignalingError>>> {
        let mut lane = lock(&self.incoming);
        if let Some(signal) = lane.signals.pop_front() {
            wake(lane.sender.take());
            return Poll::Ready(Some(Ok(signal)));
        }
        if lane.closed {
            return Poll::Ready(None);
        }
        lane.receiver = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        for lane in [&self.outgoing, &self.incoming] {
            let mut lane = lock(lane);
            lane.closed = true;
            wake(lane.sender.take());
            wake(lane.receiver.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(sdp: &str) -> Signal {
        Signal::Answer { sdp: sdp.into() }
    }

    #[test]
    fn a_full_channel_leaves_the_signal_with_the_caller() {
        let mut cx = Context::from_waker(Waker::noop());
        let (mut left, mut right) = pair(1);
        let mut first = Some(answer("1"));
        assert!(left.poll_send(&mut cx, &mut first).is_ready());
        let mut second = Some(answer("2"));
        assert!(left.poll_send(&mut cx, &mut second).is_pending());
        assert_eq!(second, Some(answer("2")));
        assert!(matches!(right.poll_recv(&mut cx), Poll::Ready(Some(Ok(s))) if s == answer("1")));
        assert!(left.poll_send(&mut cx, &mut second).is_ready());
        assert_eq!(second, None);
    }

    #[test]
    fn what_was_sent_before_the_end_is_received() {
        let mut cx = Context::from_waker(Waker::noop());
        let (mut left, mut right) = pair(4);
        let mut signal = Some(answer("1"));
        assert!(left.poll_send(&mut cx, &mut signal).is_ready());
        assert!(!right.is_closed());
        drop(left);
        assert!(right.is_closed());
        assert!(matches!(right.poll_recv(&mut cx), Poll::Ready(Some(Ok(_)))));
        assert!(matches!(right.poll_recv(&mut cx), Poll::Ready(None)));
        let mut late = Some(answer("2"));
        assert!(matches!(
            right.poll_send(&mut cx, &mut late),
            Poll::Ready(Err(SignalingError::Closed))
        ));
    }
}
