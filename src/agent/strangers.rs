//! What was sent to IP addresses that did not answer: it outlives a generation, so that restarts
//! make nobody a target. [RFC 8445 §19.5.1]

use core::time::Duration;
use std::net::IpAddr;

use crate::config::Limits;
use crate::time::Instant;

/// In which time as much as [`Limits::unverified_refill_per_ip`] is forgotten.
const REFILL: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
struct Stranger {
    ip: IpAddr,
    packets: u16,
    /// Until when what was spent has been forgotten.
    since: Instant,
}

/// The packets to each IP address that has not answered since.
#[derive(Clone, Debug, Default)]
pub(super) struct Strangers(Vec<Stranger>);

impl Strangers {
    /// Counts a packet to `ip`; false if none may go there. There are as many addresses as a
    /// generation has packets.
    pub(super) fn spend(&mut self, ip: IpAddr, now: Instant, limits: &Limits) -> bool {
        if let Some(known) = self.0.iter_mut().find(|known| known.ip == ip) {
            let may = known.packets < limits.unverified_packets_per_ip;
            known.packets += u16::from(may);
            return may;
        }
        let may = limits.unverified_packets_per_ip > 0
            && self.0.len() < usize::from(limits.unverified_packets);
        if may {
            self.0.push(Stranger { ip, packets: 1, since: now });
        }
        may
    }

    /// An authenticated check came from `ip`: as much may go back.
    pub(super) fn heard(&mut self, ip: IpAddr) {
        if let Some(known) = self.0.iter_mut().find(|known| known.ip == ip) {
            known.packets = known.packets.saturating_sub(1);
        }
    }

    /// `ip` answered: it is no stranger.
    pub(super) fn forgive(&mut self, ip: IpAddr) {
        if !self.0.is_empty() {
            self.0.retain(|known| known.ip != ip);
            self.0.shrink_to_fit();
        }
    }

    /// A generation begins: forgets what the time since has made up for.
    pub(super) fn refill(&mut self, now: Instant, per_minute: u16) {
        let Some(each) = REFILL.checked_div(per_minute.into()) else { return };
        self.0.retain_mut(|known| {
            let whole = now.since(known.since).as_nanos() / each.as_nanos().max(1);
            let whole = u16::try_from(whole).unwrap_or(u16::MAX);
            known.packets = known.packets.saturating_sub(whole);
            known.since += each.saturating_mul(whole.into());
            known.packets > 0
        });
        self.0.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VICTIM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 66));

    fn spend(strangers: &mut Strangers, now: Instant) -> usize {
        let limits = Limits::default();
        (0..1_000).filter(|_| strangers.spend(VICTIM, now, &limits)).count()
    }

    #[test]
    fn what_was_spent_is_forgotten_at_a_restart_as_time_has_passed() {
        let mut strangers = Strangers::default();
        let start = Instant::from_millis(1_000);
        assert_eq!(spend(&mut strangers, start), 56);
        strangers.refill(start + Duration::from_secs(30), 56);
        assert_eq!(spend(&mut strangers, start + Duration::from_secs(30)), 28);
        strangers.refill(start + Duration::from_secs(31), 56);
        assert_eq!(spend(&mut strangers, start + Duration::from_secs(31)), 0);
        strangers.refill(start + Duration::from_secs(3_600), 56);
        assert_eq!(spend(&mut strangers, start + Duration::from_secs(3_600)), 56);
        strangers.refill(start + Duration::from_secs(7_200), 0);
        assert_eq!(spend(&mut strangers, start + Duration::from_secs(7_200)), 0);
    }

    #[test]
    fn a_check_that_is_heard_pays_for_one_and_an_answer_for_all() {
        let mut strangers = Strangers::default();
        let now = Instant::from_millis(1_000);
        assert_eq!(spend(&mut strangers, now), 56);
        strangers.heard(VICTIM);
        assert_eq!(spend(&mut strangers, now), 1);
        strangers.forgive(VICTIM);
        assert_eq!(spend(&mut strangers, now), 56);
    }
}
