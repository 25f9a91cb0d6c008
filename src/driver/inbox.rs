//! Bounded queues between the driver and its connections.

use std::collections::VecDeque;

/// Datagrams that arrived and were not received yet, without an allocation for each.
#[derive(Debug)]
pub(super) struct Inbox {
    lengths: VecDeque<u32>,
    octets: VecDeque<u8>,
    max_datagrams: usize,
    max_octets: usize,
    dropped: u64,
}

impl Inbox {
    pub(super) fn new(max_datagrams: usize, max_octets: usize) -> Self {
        Self {
            lengths: VecDeque::new(),
            octets: VecDeque::new(),
            max_datagrams,
            max_octets,
            dropped: 0,
        }
    }

    /// Keeps a datagram; drops and counts it where there is no room.
    pub(super) fn push(&mut self, datagram: &[u8]) {
        let room = self.max_octets.saturating_sub(self.octets.len());
        let length = u32::try_from(datagram.len()).ok().filter(|_| datagram.len() <= room);
        match length {
            Some(length) if self.lengths.len() < self.max_datagrams => {
                self.lengths.push_back(length);
                self.octets.extend(datagram);
            }
            Some(_) | None => self.dropped = self.dropped.saturating_add(1),
        }
    }

    /// Moves the oldest datagram into `buf` and returns how many octets were written; what does
    /// not fit is lost.
    pub(super) fn pop(&mut self, buf: &mut [u8]) -> Option<usize> {
        let length = usize::try_from(self.lengths.pop_front()?).unwrap_or(0);
        let mut written = 0;
        for (to, octet) in buf.iter_mut().zip(self.octets.drain(..length.min(self.octets.len()))) {
            *to = octet;
            written += 1;
        }
        Some(written)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// Events that nobody took yet: when full the oldest one makes room, for the newest tells most.
#[derive(Debug)]
pub(super) struct EventQueue<E> {
    events: VecDeque<E>,
    max: usize,
    missed: u64,
}

impl<E> EventQueue<E> {
    pub(super) fn new(max: usize) -> Self {
        Self { events: VecDeque::new(), max: max.max(1), missed: 0 }
    }

    pub(super) fn push(&mut self, event: E) {
        if self.events.len() >= self.max {
            self.events.pop_front();
            self.missed = self.missed.saturating_add(1);
        }
        self.events.push_back(event);
    }

    pub(super) fn pop(&mut self) -> Option<E> {
        self.events.pop_front()
    }

    pub(super) fn missed(&self) -> u64 {
        self.missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_inbox_drops_the_newest_and_counts_it() {
        let mut inbox = Inbox::new(2, 8);
        inbox.push(b"abc");
        inbox.push(b"123456");
        inbox.push(b"");
        inbox.push(b"x");
        assert_eq!(inbox.dropped(), 2);
        let mut buf = [0; 2];
        assert_eq!(inbox.pop(&mut buf), Some(2));
        assert_eq!(&buf, b"ab");
        assert_eq!(inbox.pop(&mut buf), Some(0));
        assert_eq!(inbox.pop(&mut buf), None);
        inbox.push(b"12345678");
        assert_eq!(inbox.pop(&mut [0; 9]), Some(8));
        assert!(inbox.is_empty());
    }

    #[test]
    fn a_full_event_queue_drops_the_oldest_and_counts_it() {
        let mut queue = EventQueue::new(2);
        for event in 1..=3 {
            queue.push(event);
        }
        assert_eq!((queue.pop(), queue.pop(), queue.pop()), (Some(2), Some(3), None));
        assert_eq!(queue.missed(), 1);
    }
}
