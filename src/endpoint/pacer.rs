//! The pace of all agents together: one new transaction per 5 ms. [rfc8445-14.2-4]

use core::time::Duration;
use std::collections::VecDeque;

use crate::time::Instant;

/// The least time between two starts. [rfc8445-14.2-4]
const FLOOR: Duration = Duration::from_millis(5);

/// One start per interval, whoever it is for.
#[derive(Clone, Debug)]
pub(super) struct Pacer {
    next: Instant,
    interval: Duration,
    /// The agents that wait for their turn, each once.
    line: VecDeque<u32>,
    /// The agent whose turn it is: others queue behind the line.
    turn: Option<u32>,
    /// Gathering had the last turn: the next one is an agent's, if one waits.
    gathered: bool,
}

impl Pacer {
    pub(super) fn new(now: Instant, interval: Duration) -> Self {
        Self {
            next: now,
            interval: interval.max(FLOOR),
            line: VecDeque::new(),
            turn: None,
            gathered: true,
        }
    }

    fn may_start(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// Whether an agent may start: not before those that have waited longer.
    pub(super) fn agent_may_start(&self, now: Instant, agent: u32) -> bool {
        self.may_start(now) && (self.turn == Some(agent) || self.line.is_empty())
    }

    /// Whether gathering may start: it takes turns with the agents.
    pub(super) fn gathering_may_start(&self, now: Instant) -> bool {
        self.may_start(now) && !(self.gathered && self.has_line())
    }

    /// Whether the next start is an agent's, if one waits: as it is at first.
    pub(super) fn agents_turn(&self) -> bool {
        self.gathered
    }

    pub(super) fn agent_started(&mut self, now: Instant) {
        self.next = now + self.interval;
        self.turn = None;
        self.gathered = false;
    }

    pub(super) fn gathering_started(&mut self, now: Instant) {
        self.next = now + self.interval;
        self.gathered = true;
    }

    /// When the next start is allowed.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// Puts an agent at the end of the line.
    pub(super) fn queue(&mut self, agent: u32) {
        self.line.push_back(agent);
    }

    /// Takes the agent whose turn it is, if a start is allowed.
    pub(super) fn next_in_line(&mut self, now: Instant) -> Option<u32> {
        if self.may_start(now) {
            self.turn = self.line.pop_front();
            self.turn
        } else {
            None
        }
    }

    pub(super) fn has_line(&self) -> bool {
        !self.line.is_empty()
    }

    pub(super) fn forget(&mut self, agent: u32) {
        self.line.retain(|known| *known != agent);
        self.turn = self.turn.filter(|known| *known != agent);
    }
}
