//! Responses that are owed, and the bound on error replies.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use crate::agent::Generation;
use crate::config::EndpointConfig;
use crate::net::{AgentId, SocketId};
use crate::stun::{AttributeType, TransactionId};
use crate::time::Instant;

/// Unknown attributes that a 420 names.
pub(super) const UNKNOWN_NAMED: usize = 4;

/// What a response says.
#[derive(Clone, Copy, Debug)]
pub(super) enum ReplyKind {
    /// Success, with the address that the request came from.
    Success,
    /// An error, authenticated like the request.
    Error(u16),
    /// 420, naming the attributes. [rfc8489-6.3.1.1-3] [rfc8489-14.8-10]
    UnknownAttributes([Option<AttributeType>; UNKNOWN_NAMED]),
}

/// A response that is owed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply {
    pub(super) socket: SocketId,
    pub(super) to: SocketAddr,
    pub(super) id: TransactionId,
    pub(super) kind: ReplyKind,
    /// Whose password protects it; `None` for one that cannot be protected.
    pub(super) signer: Option<(AgentId, Generation)>,
}

/// Error replies in the current second, in all and by address.
#[derive(Clone, Debug, Default)]
pub(super) struct ErrorBudget {
    since: Instant,
    total: u16,
    by_ip: Vec<(IpAddr, u16)>,
}

impl ErrorBudget {
    /// Whether one more error reply may go to `ip`; counts it if so.
    pub(super) fn spend(&mut self, now: Instant, ip: IpAddr, config: &EndpointConfig) -> bool {
        if now - self.since >= core::time::Duration::from_secs(1) {
            self.since = now;
            self.total = 0;
            self.by_ip.clear();
        }
        if self.total >= config.error_replies {
            return false;
        }
        let known = self.by_ip.iter_mut().find(|(known, _)| *known == ip);
        match known {
            Some((_, count)) if *count >= config.error_replies_per_ip => return false,
            Some((_, count)) => *count += 1,
            None => self.by_ip.push((ip, 1)),
        }
        self.total += 1;
        true
    }
}

/// The responses that are owed, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Replies {
    queue: VecDeque<Reply>,
}

impl Replies {
    pub(super) fn push(&mut self, reply: Reply) {
        if self.queue.capacity() == 0 {
            // Mostly one is owed at a time.
            self.queue.reserve_exact(1);
        }
        self.queue.push_back(reply);
    }

    pub(super) fn pop(&mut self) -> Option<Reply> {
        self.queue.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many are owed in the name of an agent.
    pub(super) fn owed_by(&self, agent: AgentId) -> usize {
        self.queue.iter().filter(|reply| reply.signer.is_some_and(|(id, _)| id == agent)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_replies_are_bounded_per_address_and_in_all() {
        let config = EndpointConfig::default();
        let mut budget = ErrorBudget::default();
        let ip = |last: u8| IpAddr::from([192, 0, 2, last]);
        let now = Instant::from_millis(10_000);
        assert_eq!((0..100).filter(|_| budget.spend(now, ip(1), &config)).count(), 10);
        let sent = (0..100u8).filter(|last| budget.spend(now, ip(*last), &config)).count();
        assert_eq!(sent, 40);
        let later = now + core::time::Duration::from_secs(1);
        assert!(budget.spend(later, ip(1), &config));
    }
}
