//! Asking what names stand for. [RFC 6762 §5.2]

use core::fmt;
use core::time::Duration;
use std::collections::VecDeque;
use std::net::IpAddr;

use super::message::{Item, Message, Writer};
use super::{
    Arrival, Budget, Destination, MAX_CACHED, MAX_QUESTIONS, PATIENCE, PORT, Packet, REST, TTL,
};
use crate::time::{Instant, earlier};

/// How often a name is asked for: at once, after 1 s, 3 s and 7 s. [RFC 6762 §5.2]
const SENDS: u32 = 4;

/// What became of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The name, in small letters.
    pub name: String,
    /// What it stands for.
    pub outcome: Result<IpAddr, Unresolved>,
}

/// Why a name stands for nothing. [mdns-ice-candidates-3.2.1-p2]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unresolved {
    /// Nobody answered in [`PATIENCE`].
    Silence,
    /// It has more than one address: it is none that hides a candidate.
    /// [mdns-ice-candidates-3.2.2-1]
    SeveralAddresses,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silence => "nobody on the link knows the name",
            Self::SeveralAddresses => "the name has more than one address",
        })
    }
}

impl core::error::Error for Unresolved {}

/// [`MAX_QUESTIONS`] names are being asked for: ask again when one of them is resolved, or leave
/// it be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyQuestions;

impl fmt::Display for TooManyQuestions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too many names are being asked for; wait for one to be resolved")
    }
}

impl core::error::Error for TooManyQuestions {}

/// A name that is asked for.
#[derive(Clone, Debug)]
struct Asked {
    name: String,
    sent: u32,
    /// When it is sent again.
    due: Instant,
    /// When it is given up.
    ends: Instant,
}

/// An answer that is kept for a while.
#[derive(Clone, Debug)]
struct Known {
    name: String,
    outcome: Result<IpAddr, Unresolved>,
    until: Instant,
}

/// Asks what names stand for. See the [module](super) for its bounds.
#[derive(Clone, Debug)]
pub struct Querier {
    asked: Vec<Asked>,
    known: VecDeque<Known>,
    resolved: VecDeque<Resolution>,
    budget: Budget,
}

impl Default for Querier {
    fn default() -> Self {
        Self::new()
    }
}

impl Querier {
    /// Makes one that asks nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            asked: Vec::new(),
            known: VecDeque::new(),
            resolved: VecDeque::new(),
            budget: Budget::new(),
        }
    }

    /// Asks what a name stands for; one that is being asked for already is asked for once.
    /// [`poll_resolution`](Self::poll_resolution) says what became of it, at once where an answer
    /// is known.
    ///
    /// # Errors
    ///
    /// [`TooManyQuestions`]; nothing follows then.
    pub fn ask(&mut self, now: Instant, name: &str) -> Result<(), TooManyQuestions> {
        let name = name.to_ascii_lowercase();
        self.known.retain(|known| known.until > now);
        if let Some(known) = self.known.iter().find(|known| known.name == name) {
            let outcome = known.outcome;
            if !self.resolved.iter().any(|resolved| resolved.name == name) {
                self.resolved.push_back(Resolution { name, outcome });
            }
            return Ok(());
        }
        if self.asked.iter().any(|asked| asked.name == name) {
            return Ok(());
        }
        if self.asked.len() + self.resolved.len() >= MAX_QUESTIONS {
            return Err(TooManyQuestions);
        }
        self.asked.push(Asked { name, sent: 0, due: now, ends: now + PATIENCE });
        Ok(())
    }

    /// Leaves a name be that nobody wants to know of any more.
    pub fn forget(&mut self, name: &str) {
        self.asked.retain(|asked| !asked.name.eq_ignore_ascii_case(name));
    }

    /// Takes a datagram from a link. What is no answer to a question of ours changes nothing, but
    /// that an answer which was kept may turn out to be one of several, or be taken back.
    /// [RFC 6762 §6, §10.1]
    pub fn handle_datagram(&mut self, now: Instant, arrival: Arrival, datagram: &[u8]) {
        if arrival.from.port() != PORT || self.asked.is_empty() && self.known.is_empty() {
            return;
        }
        let Some(message) = Message::parse(datagram).filter(Message::is_response) else { return };
        let mut found: Vec<Known> = Vec::new();
        for item in message.items() {
            let Item::Record(record) = item else { continue };
            let (Some(name), Some(ip)) = (record.name.as_str(), record.address) else { continue };
            if record.ttl == 0 {
                self.known.retain(|known| known.name != name || known.outcome != Ok(ip));
                continue;
            }
            self.doubt(name, ip);
            if !self.asked.iter().any(|asked| asked.name == name) {
                continue;
            }
            let until = now + TTL.min(Duration::from_secs(record.ttl.into()));
            match found.iter_mut().find(|known| known.name == name) {
                Some(known) if known.outcome == Ok(ip) => {}
                Some(known) => known.outcome = Err(Unresolved::SeveralAddresses),
                None => found.push(Known { name: name.to_owned(), outcome: Ok(ip), until }),
            }
        }
        for known in found {
            self.conclude(known);
        }
    }

    /// An answer that is kept and another one: who asks next is not given either.
    /// [mdns-ice-candidates-3.2.2-1]
    fn doubt(&mut self, name: &str, ip: IpAddr) {
        if let Some(known) = self.known.iter_mut().find(|known| known.name == name)
            && known.outcome != Ok(ip)
        {
            known.outcome = Err(Unresolved::SeveralAddresses);
        }
    }

    fn conclude(&mut self, known: Known) {
        self.asked.retain(|asked| asked.name != known.name);
        let Known { name, outcome, until: _ } = &known;
        self.resolved.push_back(Resolution { name: name.clone(), outcome: *outcome });
        if self.known.len() >= MAX_CACHED {
            self.known.pop_front();
        }
        self.known.push_back(known);
    }

    /// Gives up what nobody answered for long.
    pub fn handle_timeout(&mut self, now: Instant) {
        let resolved = &mut self.resolved;
        self.asked.retain(|asked| {
            let over = asked.ends <= now;
            if over {
                let outcome = Err(Unresolved::Silence);
                resolved.push_back(Resolution { name: asked.name.clone(), outcome });
            }
            !over
        });
    }

    /// Encodes the next packet that is due into `buf`, of at least 512 octets: as many questions
    /// of one sort as fit. A name is asked for by unicast first; who cannot be reached so, since
    /// other programs use the port, hears the answer to the questions after it.
    /// [mdns-ice-candidates-3.2.1-1]
    pub fn poll_transmit(&mut self, now: Instant, buf: &mut [u8]) -> Option<Packet> {
        self.budget.fill(now);
        let first = self.asked.iter().find(|asked| asked.due <= now)?.sent == 0;
        let mut writer = Writer::query(buf)?;
        if self.budget.left == 0 {
            return None;
        }
        for asked in self.asked.iter_mut().filter(|asked| asked.due <= now) {
            if (asked.sent == 0) != first || !writer.ask(&asked.name, first) {
                continue;
            }
            asked.due = match asked.sent + 1 {
                sent if sent < SENDS => now + REST * 2u32.pow(asked.sent),
                _ => Instant::MAX,
            };
            asked.sent += 1;
        }
        if writer.is_empty() || !self.budget.take() {
            return None;
        }
        Some(Packet { to: Destination::Everywhere, range: 0..writer.finish() })
    }

    /// Takes what became of a name.
    pub fn poll_resolution(&mut self) -> Option<Resolution> {
        self.resolved.pop_front()
    }

    /// Returns when to ask for packets, or to call [`handle_timeout`](Self::handle_timeout), next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let due = self.asked.iter().map(|asked| asked.due).min();
        let due = due.filter(|due| *due < Instant::MAX).map(|due| self.budget.not_before(due));
        earlier(due, self.asked.iter().map(|asked| asked.ends).min())
    }

    /// Returns whether nothing is asked for.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.asked.is_empty() && self.resolved.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::LinkId;
    use super::*;

    const NAME: &str = "9b36eaac-bb2e-49bb-bb78-21c41c499900.local";
    const OTHER: &str = "76c82649-02d6-4030-8aef-a2ba3a9019d5.local";

    fn at(millis: u64) -> Instant {
        Instant::from_millis(5_000 + millis)
    }

    fn from(source: &str) -> Arrival {
        Arrival { link: LinkId(2), from: source.parse().unwrap(), own: false }
    }

    fn response(answers: &[(&str, &str, u32)]) -> Vec<u8> {
        let mut buf = [0; 1200];
        let mut writer = Writer::response(&mut buf, 0).unwrap();
        for (name, ip, ttl) in answers {
            assert!(writer.answer(name, ip.parse().unwrap(), *ttl, true));
        }
        let len = writer.finish();
        buf[..len].to_vec()
    }

    fn answer(querier: &mut Querier, now: Instant, answers: &[(&str, &str, u32)]) {
        querier.handle_datagram(now, from("192.168.1.9:5353"), &response(answers));
    }

    /// The packets that leave now: the names of each, and whether they ask for unicast.
    fn sent(querier: &mut Querier, now: Instant) -> Vec<(Vec<String>, bool)> {
        let mut buf = [0; 1200];
        let mut packets = Vec::new();
        while let Some(packet) = querier.poll_transmit(now, &mut buf) {
            assert_eq!(packet.to, Destination::Everywhere);
            let message = Message::parse(&buf[packet.range]).unwrap();
            let mut names = Vec::new();
            let mut unicast = false;
            for item in message.items() {
                let Item::Question(question) = item else { panic!("{item:?}") };
                let name = question.name.as_str().unwrap().to_owned();
                unicast = question.unicast;
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            packets.push((names, unicast));
        }
        packets
    }

    fn outcome(querier: &mut Querier) -> Option<Result<IpAddr, Unresolved>> {
        querier.poll_resolution().map(|resolution| resolution.outcome)
    }

    fn one(ip: &str) -> Option<Result<IpAddr, Unresolved>> {
        Some(Ok(ip.parse().unwrap()))
    }

    /// Only the first question asks for an answer by unicast. [mdns-ice-candidates-3.2.1-1]
    /// [mdns-ice-candidates-3.2.1-p2]
    #[test]
    fn a_name_that_nobody_knows_is_asked_for_ever_more_rarely_and_given_up() {
        let mut querier = Querier::new();
        querier.ask(at(0), NAME).unwrap();
        querier.ask(at(0), &NAME.to_uppercase()).unwrap();
        let mut times = Vec::new();
        while let Some(now) = querier.poll_timeout() {
            querier.handle_timeout(now);
            for (names, unicast) in sent(&mut querier, now) {
                assert_eq!(names, [NAME]);
                times.push((now.since(at(0)).as_millis(), unicast));
            }
            assert!(querier.poll_timeout().is_none_or(|next| next > now));
        }
        assert_eq!(times, [(0, true), (1000, false), (3000, false), (7000, false)]);
        assert_eq!(outcome(&mut querier), Some(Err(Unresolved::Silence)));
        assert!(querier.is_idle());
    }

    #[test]
    fn names_that_are_due_together_share_a_packet() {
        let mut querier = Querier::new();
        querier.ask(at(0), NAME).unwrap();
        querier.ask(at(0), OTHER).unwrap();
        assert_eq!(sent(&mut querier, at(0)), [(vec![NAME.to_owned(), OTHER.to_owned()], true)]);
        for number in 0..30 {
            querier.ask(at(1), &format!("{number}.local")).unwrap();
        }
        let names: usize = sent(&mut querier, at(1)).iter().map(|(names, _)| names.len()).sum();
        assert_eq!(names, 30);
    }

    #[test]
    fn an_answer_of_either_family_resolves_a_name_at_once_and_is_kept() {
        let mut querier = Querier::new();
        for (name, ip) in [(NAME, "192.168.1.9"), (OTHER, "2001:db8::9")] {
            querier.ask(at(0), name).unwrap();
            sent(&mut querier, at(0));
            answer(&mut querier, at(10), &[(name, ip, 120)]);
            assert_eq!(outcome(&mut querier), one(ip));
            assert_eq!(querier.poll_timeout(), None);
            querier.ask(at(119_000), name).unwrap();
            assert_eq!(outcome(&mut querier), one(ip));
            querier.ask(at(121_000), name).unwrap();
            assert_eq!(outcome(&mut querier), None);
            querier.forget(name);
            assert!(querier.is_idle());
        }
    }

    /// [mdns-ice-candidates-3.2.2-1]
    #[test]
    fn a_name_with_more_than_one_address_stands_for_nothing() {
        let mut querier = Querier::new();
        for several in [["192.168.1.9", "192.168.1.8"], ["192.168.1.9", "2001:db8::9"]] {
            querier.ask(at(0), NAME).unwrap();
            answer(&mut querier, at(1), &several.map(|ip| (NAME, ip, 120)));
            assert_eq!(outcome(&mut querier), Some(Err(Unresolved::SeveralAddresses)));
            querier.known.clear();
        }
        querier.ask(at(0), NAME).unwrap();
        answer(&mut querier, at(1), &["192.168.1.9"; 2].map(|ip| (NAME, ip, 120)));
        assert_eq!(outcome(&mut querier), one("192.168.1.9"));
        // Another answer that comes later counts for who asks after it.
        answer(&mut querier, at(2), &[(NAME, "192.168.1.8", 120)]);
        querier.ask(at(3), NAME).unwrap();
        assert_eq!(outcome(&mut querier), Some(Err(Unresolved::SeveralAddresses)));
    }

    #[test]
    fn what_nobody_asked_for_is_not_kept() {
        let mut querier = Querier::new();
        answer(&mut querier, at(0), &[(NAME, "192.168.1.9", 120)]);
        querier.ask(at(1), OTHER).unwrap();
        answer(&mut querier, at(1), &[(NAME, "192.168.1.9", 120)]);
        assert!(querier.known.is_empty() && outcome(&mut querier).is_none());
        querier.ask(at(2), NAME).unwrap();
        assert_eq!(outcome(&mut querier), None);
    }

    /// RFC 6762 section 6: responses come from port 5353; section 10.1: with TTL 0 they take back.
    #[test]
    fn queries_other_ports_goodbyes_and_damage_answer_nothing() {
        let mut querier = Querier::new();
        querier.ask(at(0), NAME).unwrap();
        let whole = response(&[(NAME, "192.168.1.9", 120)]);
        querier.handle_datagram(at(1), from("192.168.1.9:53530"), &whole);
        querier.handle_datagram(at(1), from("192.168.1.9:5353"), &whole[..whole.len() - 1]);
        let mut query = whole.clone();
        query[2] &= 0x7F;
        querier.handle_datagram(at(1), from("192.168.1.9:5353"), &query);
        answer(&mut querier, at(1), &[(NAME, "192.168.1.9", 0)]);
        assert_eq!(outcome(&mut querier), None);
        answer(&mut querier, at(1), &[(NAME, "192.168.1.9", 120)]);
        assert_eq!(outcome(&mut querier), one("192.168.1.9"));
        answer(&mut querier, at(2), &[(NAME, "192.168.1.9", 0)]);
        assert!(querier.known.is_empty());
    }

    /// [mdns-ice-candidates-7.1-1] [mdns-ice-candidates-7.1-2]
    #[test]
    fn however_many_names_come_few_are_asked_for_and_few_packets_leave() {
        let mut querier = Querier::new();
        let mut packets = 0;
        let mut refused = 0;
        for number in 0..2_000u32 {
            let now = at(u64::from(number) * 10);
            refused += usize::from(querier.ask(now, &format!("{number}.local")).is_err());
            querier.handle_timeout(now);
            packets += sent(&mut querier, now).len();
            while querier.poll_resolution().is_some() {}
            assert!(querier.asked.len() <= MAX_QUESTIONS);
        }
        assert!(refused > 1_900 && packets <= 420, "{refused} {packets}");
        for number in 0..200u32 {
            let mut querier = querier.clone();
            querier.asked.clear();
            let name = format!("a{number}.local");
            querier.ask(at(30_000), &name).unwrap();
            answer(&mut querier, at(30_000), &[(&name, "192.168.1.9", 120)]);
            assert!(querier.known.len() <= MAX_CACHED);
        }
    }
}
