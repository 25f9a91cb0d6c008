//! The pace of all agents together: one new transaction per 5 ms. [rfc8445-14.2-4]

use core::time::Duration;
use std::collections::VecDeque;

use crate::time::Instant;

/// The least time between two starts. [rfc8445-14.2-4]
const FLOOR: Duration = Duration::from_millis(5);

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Check,
    Gathering,
}

/// One start per interval, whoever it is for.
#[derive(Clone, Debug)]
pub(super) struct Pacer {
    next: Instant,
    interval: Duration,
    last: Start,
    /// The agents that wait for their turn, each once.
    line: VecDeque<u32>,
    /// The one whose turn it is: nobody else starts before.
    turn: Option<u32>,
}

impl Pacer {
    pub(super) fn new(now: Instant, interval: Duration) -> Self {
        let (next, interval) = (now, interval.max(FLOOR));
        Self { next, interval, last: Start::Gathering, line: VecDeque::new(), turn: None }
    }

    pub(super) fn may_start(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// Whether `agent` may start now: those that wait in line go first.
    pub(super) fn may_start_for(&self, agent: u32, now: Instant) -> bool {
        let free = self.turn.is_none() && self.line.is_empty();
        self.may_start(now) && (free || self.turn == Some(agent))
    }

    /// Notes a start.
    pub(super) fn started(&mut self, now: Instant, what: Start) {
        self.next = now + self.interval;
        self.last = what;
        self.turn = None;
    }

    /// What was started last: where both wait, checks and gathering take turns.
    pub(super) fn last(&self) -> Start {
        self.last
    }

    /// Ends the turn of an agent that started nothing.
    pub(super) fn pass(&mut self, agent: u32) {
        self.turn = self.turn.filter(|turn| *turn != agent);
    }

    /// When the next start is allowed.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Puts an agent at the end of the line.
    pub(super) fn queue(&mut self, agent: u32) {
        self.line.push_back(agent);
    }

    /// Takes the agent whose turn it is, if a start is allowed.
    pub(super) fn next_in_line(&mut self, now: Instant) -> Option<u32> {
        if !self.may_start(now) {
            return None;
        }
        self.turn = self.line.pop_front();
        self.turn
    }

    pub(super) fn has_line(&self) -> bool {
        !self.line.is_empty()
    }

    pub(super) fn forget(&mut self, agent: u32) {
        self.line.retain(|known| *known != agent);
        self.pass(agent);
    }
}
