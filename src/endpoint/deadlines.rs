//! The deadlines of many agents: the earliest at once, any change in logarithmic time.

use crate::time::Instant;

/// A binary heap of one deadline per agent that knows where each agent's stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Deadlines {
    heap: Vec<(Instant, u32)>,
    /// The place of each agent in the heap; `ABSENT` if it has no deadline.
    places: Vec<u32>,
}

const ABSENT: u32 = u32::MAX;

impl Deadlines {
    /// The earliest deadline and whose it is.
    pub(super) fn first(&self) -> Option<(Instant, u32)> {
        self.heap.first().copied()
    }

    /// Sets or clears the deadline of an agent.
    pub(super) fn set(&mut self, agent: u32, deadline: Option<Instant>) {
        let slot = agent as usize;
        if self.places.len() <= slot {
            self.places.resize(slot + 1, ABSENT);
        }
        let place = self.places.get(slot).copied().filter(|place| *place != ABSENT);
        match (place, deadline) {
            (None, None) => {}
            (None, Some(at)) => {
                self.heap.push((at, agent));
                self.settle(self.heap.len() - 1);
            }
            (Some(place), Some(at)) => {
                if let Some(entry) = self.heap.get_mut(place as usize) {
                    entry.0 = at;
                }
                self.settle(place as usize);
            }
            (Some(place), None) => self.remove(place as usize),
        }
    }

    fn remove(&mut self, place: usize) {
        if place >= self.heap.len() {
            return;
        }
        let (_, agent) = self.heap.swap_remove(place);
        self.note(agent, ABSENT);
        if place < self.heap.len() {
            self.settle(place);
        }
    }

    /// Moves the entry at `place` to where it belongs.
    fn settle(&mut self, place: usize) {
        let mut place = place;
        while place > 0 && self.is_before(place, (place - 1) / 2) {
            self.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
        loop {
            let (left, right) = (2 * place + 1, 2 * place + 2);
            let child = if self.is_before(right, left) { right } else { left };
            if !self.is_before(child, place) {
                break;
            }
            self.swap(place, child);
            place = child;
        }
        if let Some((_, agent)) = self.heap.get(place) {
            self.note(*agent, u32::try_from(place).unwrap_or(ABSENT));
        }
    }

    /// Whether the entry at `a` exists and is earlier than that at `b`; agents break ties, so
    /// that the order is always the same.
    fn is_before(&self, a: usize, b: usize) -> bool {
        match (self.heap.get(a), self.heap.get(b)) {
            (Some(a), Some(b)) => a < b,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        for place in [a, b] {
            if let Some((_, agent)) = self.heap.get(place) {
                self.note(*agent, u32::try_from(place).unwrap_or(ABSENT));
            }
        }
    }

    fn note(&mut self, agent: u32, place: u32) {
        if let Some(known) = self.places.get_mut(agent as usize) {
            *known = place;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_earliest_is_always_first() {
        let mut deadlines = Deadlines::default();
        let mut model = BTreeMap::new();
        let mut state = 1u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let agent = (state >> 33) as u32 % 37;
            let at = (state >> 40) % 1_000;
            if at < 200 {
                deadlines.set(agent, None);
                model.remove(&agent);
            } else {
                deadlines.set(agent, Some(Instant::from_nanos(at)));
                model.insert(agent, Instant::from_nanos(at));
            }
            let expected = model.iter().map(|(agent, at)| (*at, *agent)).min();
            assert_eq!(deadlines.first(), expected);
        }
    }
}
