//! Answering for names of our own. [RFC 6762 §6, §8.3]

use core::fmt;
use core::time::Duration;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use super::message::{ANY_CLASS, IN, Item, Message, Question, Writer};
use super::{Arrival, Budget, Destination, LinkId, MAX_NAMES, PORT, Packet, REST, TTL};
use crate::time::{Instant, earlier};

/// How often a new name is announced, a second apart. [RFC 6762 §8.3]
const ANNOUNCEMENTS: u8 = 2;
/// Answers by unicast that are not sent yet; more are not given.
const MAX_OWED: usize = 32;
/// How long who asks from another port may keep an answer, in seconds. [RFC 6762 §6.7]
const LEGACY_TTL: u32 = 10;

/// [`MAX_NAMES`] names are answered for already: this one is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyNames;

impl fmt::Display for TooManyNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too many names are answered for; close a connection that has some")
    }
}

impl core::error::Error for TooManyNames {}

/// A name of ours.
#[derive(Clone, Debug)]
struct Registered {
    link: LinkId,
    name: String,
    ip: IpAddr,
    /// Announcements that are still to come.
    announcements: u8,
    /// When it is sent to the groups next.
    due: Option<Instant>,
    /// When it was sent to the groups last.
    sent: Option<Instant>,
    /// It is taken back.
    leaving: bool,
}

impl Registered {
    /// Sends it to the groups as soon as that is allowed: not twice in a second. [RFC 6762 §6]
    fn schedule(&mut self, now: Instant) {
        let soonest = self.sent.map_or(now, |sent| now.max(sent + REST));
        self.due = earlier(self.due, Some(soonest));
    }
}

/// An answer that goes to one address.
#[derive(Clone, Debug)]
struct Owed {
    link: LinkId,
    to: SocketAddr,
    name: String,
    /// The id and the type of a question from another port than 5353. [RFC 6762 §6.7]
    legacy: Option<(u16, u16)>,
}

/// Answers for names of our own. See the [module](super) for its bounds.
///
/// A name is announced without being probed for: it is random, so nobody else has it, and whoever
/// said so would only keep us from using it.
/// [mdns-ice-candidates-3.1.1-2a] [mdns-ice-candidates-3.1.1-2b]
#[derive(Clone, Debug)]
pub struct Responder {
    names: Vec<Registered>,
    owed: VecDeque<Owed>,
    budget: Budget,
}

impl Default for Responder {
    fn default() -> Self {
        Self::new()
    }
}

impl Responder {
    /// Makes one that answers for nothing.
    #[must_use]
    pub fn new() -> Self {
        Self { names: Vec::new(), owed: VecDeque::new(), budget: Budget::new() }
    }

    /// Answers for a name on a link from now on, and announces it there.
    /// [mdns-ice-candidates-3.1.1-2a]
    ///
    /// # Errors
    ///
    /// [`TooManyNames`].
    pub fn register(
        &mut self,
        now: Instant,
        link: LinkId,
        name: &str,
        ip: IpAddr,
    ) -> Result<(), TooManyNames> {
        let name = name.to_ascii_lowercase();
        let same =
            |known: &&mut Registered| (known.link, known.ip) == (link, ip) && known.name == name;
        if let Some(known) = self.names.iter_mut().find(same) {
            if core::mem::take(&mut known.leaving) {
                known.announcements = ANNOUNCEMENTS;
                known.schedule(now);
            }
            return Ok(());
        }
        // Those that are taken back leave soon, a link at a time.
        let staying = self.names.iter().filter(|known| !known.leaving).count();
        if staying >= MAX_NAMES || self.names.len() >= 2 * MAX_NAMES {
            return Err(TooManyNames);
        }
        self.names.push(Registered {
            link,
            name,
            ip,
            announcements: ANNOUNCEMENTS,
            due: Some(now),
            sent: None,
            leaving: false,
        });
        Ok(())
    }

    /// Answers for a name no more, and tells those who may have kept it. [RFC 6762 §10.1]
    pub fn unregister(&mut self, now: Instant, name: &str) {
        self.names.retain_mut(|known| {
            if known.name.eq_ignore_ascii_case(name) {
                known.leaving = true;
                known.due = Some(now);
            }
            !known.leaving || known.sent.is_some()
        });
        self.owed.retain(|owed| !owed.name.eq_ignore_ascii_case(name));
    }

    /// Forgets all names of a link that is gone.
    pub fn remove_link(&mut self, link: LinkId) {
        self.names.retain(|known| known.link != link);
        self.owed.retain(|owed| owed.link != link);
    }

    /// Takes a datagram from a link. What is no question for a name of ours changes nothing.
    pub fn handle_datagram(&mut self, now: Instant, arrival: Arrival, datagram: &[u8]) {
        if self.names.is_empty() {
            return;
        }
        let Some(message) = Message::parse(datagram).filter(|m| !m.is_response()) else { return };
        for item in message.items() {
            let Item::Question(question) = item else { break };
            if [IN, ANY_CLASS].contains(&question.class) {
                self.take_question(now, arrival, &message, &question);
            }
        }
    }

    /// A question of whatever type is answered with the address: that there is no other is in the
    /// answer, too.
    fn take_question(
        &mut self,
        now: Instant,
        arrival: Arrival,
        message: &Message<'_>,
        question: &Question,
    ) {
        let asked = question.name.as_str();
        let Some(known) = self.names.iter_mut().find(|known| {
            known.link == arrival.link && !known.leaving && asked == Some(known.name.as_str())
        }) else {
            return;
        };
        if is_told(message, known) {
            return;
        }
        let legacy = arrival.from.port() != PORT;
        // [RFC 6762 §5.4]
        let recent = known.sent.is_some_and(|sent| now.since(sent) < TTL / 4);
        let unicast = legacy || question.unicast && recent;
        if !unicast || arrival.own && !legacy {
            known.schedule(now);
        }
        if !unicast {
            return;
        }
        let owed = Owed {
            link: arrival.link,
            to: arrival.from,
            name: known.name.clone(),
            legacy: legacy.then_some((message.id(), question.kind)),
        };
        let again = |known: &Owed| (known.to, &known.name) == (owed.to, &owed.name);
        if self.owed.len() < MAX_OWED && !self.owed.iter().any(again) {
            self.owed.push_back(owed);
        }
    }

    /// Encodes the next packet that is due into `buf`, of at least 512 octets.
    pub fn poll_transmit(&mut self, now: Instant, buf: &mut [u8]) -> Option<Packet> {
        self.budget.fill(now);
        if self.budget.left == 0 {
            return None;
        }
        // However many ask, all hear of a name when it is due.
        let announced = self.announce(now, buf);
        let packet = announced.or_else(|| {
            let owed = self.owed.pop_front()?;
            self.reply(&owed, buf)
        });
        packet.filter(|_| self.budget.take())
    }

    fn reply(&self, owed: &Owed, buf: &mut [u8]) -> Option<Packet> {
        let known = self.names.iter().find(|n| n.link == owed.link && n.name == owed.name)?;
        let (id, ttl) = match owed.legacy {
            Some((id, _)) => (id, LEGACY_TTL),
            None => (0, seconds(TTL)),
        };
        let mut writer = Writer::response(buf, id)?;
        if let Some((_, kind)) = owed.legacy {
            writer.repeat(&owed.name, kind);
        }
        let flush = owed.legacy.is_none();
        writer.answer(&known.name, known.ip, ttl, flush);
        writer.nothing_else(&known.name, known.ip, ttl, flush);
        let to = Destination::Address(owed.link, owed.to);
        Some(Packet { to, range: 0..writer.finish() })
    }

    /// One packet for all names of a link that are due to go to the groups.
    fn announce(&mut self, now: Instant, buf: &mut [u8]) -> Option<Packet> {
        let is_due = |known: &Registered| known.due.is_some_and(|due| due <= now);
        let link = self.names.iter().find(|known| is_due(known))?.link;
        let mut writer = Writer::response(buf, 0)?;
        let mut full = false;
        let mut told = Vec::new();
        self.names.retain_mut(|known| {
            if known.link != link || !is_due(known) || full {
                return true;
            }
            let ttl = if known.leaving { 0 } else { seconds(TTL) };
            if !writer.answer(&known.name, known.ip, ttl, true) {
                full = true;
                return true;
            }
            if !known.leaving {
                told.push((known.name.clone(), known.ip));
            }
            known.sent = Some(now);
            known.announcements = known.announcements.saturating_sub(1);
            known.due = (known.announcements > 0).then(|| now + REST);
            !known.leaving
        });
        // A section ends where the next one begins. [RFC 1035 §4.1]
        for (name, ip) in told {
            writer.nothing_else(&name, ip, seconds(TTL), true);
        }
        (!writer.is_empty())
            .then(|| Packet { to: Destination::Link(link), range: 0..writer.finish() })
    }

    /// Returns when to ask for packets next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let owed = (!self.owed.is_empty()).then_some(Instant::ZERO);
        let due = self.names.iter().filter_map(|known| known.due).min();
        earlier(owed, due).map(|due| self.budget.not_before(due))
    }

    /// Returns whether nothing is answered for, nor to be said.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.names.is_empty() && self.owed.is_empty()
    }
}

/// Whether who asks knows the answer, for a good while yet. [RFC 6762 §7.1]
fn is_told(message: &Message<'_>, known: &Registered) -> bool {
    message.items().any(|item| match item {
        Item::Question(_) => false,
        Item::Record(record) => {
            record.address == Some(known.ip)
                && record.name.as_str() == Some(known.name.as_str())
                && record.ttl >= seconds(TTL / 2)
        }
    })
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The types of addresses.
    const A: u16 = 1;
    const AAAA: u16 = 28;
    const NAME: &str = "9b36eaac-bb2e-49bb-bb78-21c41c499900.local";
    const OTHER: &str = "76c82649-02d6-4030-8aef-a2ba3a9019d5.local";
    const LINK: LinkId = LinkId(2);
    const IP: &str = "192.168.1.7";

    fn at(millis: u64) -> Instant {
        Instant::from_millis(5_000 + millis)
    }

    fn from(source: &str) -> Arrival {
        Arrival { link: LINK, from: source.parse().unwrap(), own: false }
    }

    fn question(name: &str, unicast: bool) -> Vec<u8> {
        let mut buf = [0; 512];
        let mut writer = Writer::query(&mut buf).unwrap();
        assert!(writer.ask(name, unicast));
        let len = writer.finish();
        buf[..len].to_vec()
    }

    /// Addresses that leave now, each with its destination and TTL.
    fn sent(responder: &mut Responder, now: Instant) -> Vec<(Destination, String, u32)> {
        let mut buf = [0; 1200];
        let mut all = Vec::new();
        while let Some(packet) = responder.poll_transmit(now, &mut buf) {
            let message = Message::parse(&buf[packet.range]).unwrap();
            assert!(message.is_response());
            for item in message.items() {
                if let Item::Record(record) = item
                    && let Some(ip) = record.address
                {
                    assert!(record.name.as_str().is_some());
                    all.push((packet.to, ip.to_string(), record.ttl));
                }
            }
        }
        all
    }

    fn quiet() -> Responder {
        let mut responder = Responder::new();
        responder.register(at(0), LINK, NAME, IP.parse().unwrap()).unwrap();
        for now in [at(0), at(1000)] {
            assert_eq!(sent(&mut responder, now), [(Destination::Link(LINK), IP.into(), 120)]);
            assert!(responder.poll_timeout().is_none_or(|next| next > now));
        }
        assert_eq!(responder.poll_timeout(), None);
        responder
    }

    /// [mdns-ice-candidates-3.1.1-2a] [mdns-ice-candidates-3.1.1-2b]
    #[test]
    fn a_name_is_announced_twice_without_being_probed_for() {
        quiet();
    }

    #[test]
    fn a_question_is_answered_to_all_or_to_the_one_who_asks() {
        let mut responder = quiet();
        let asker = "192.168.1.9:5353";
        responder.handle_datagram(at(5_000), from(asker), &question(NAME, false));
        let all = (Destination::Link(LINK), IP.to_owned(), 120);
        assert_eq!(sent(&mut responder, at(5_000)), core::slice::from_ref(&all));
        responder.handle_datagram(at(6_500), from(asker), &question(&NAME.to_uppercase(), true));
        let one = (Destination::Address(LINK, asker.parse().unwrap()), IP.to_owned(), 120);
        assert_eq!(sent(&mut responder, at(6_500)), [one]);
        // Nobody heard it for long: all shall. RFC 6762 section 5.4.
        responder.handle_datagram(at(60_000), from(asker), &question(NAME, true));
        assert_eq!(sent(&mut responder, at(60_000)), [all]);
    }

    /// A packet by unicast may reach another program that uses the port.
    #[test]
    fn who_asks_on_this_machine_is_answered_by_multicast_too() {
        let mut responder = quiet();
        let arrival = Arrival { own: true, ..from("192.168.1.7:5353") };
        responder.handle_datagram(at(1_200), arrival, &question(NAME, true));
        let one = Destination::Address(LINK, arrival.from);
        assert_eq!(sent(&mut responder, at(1_200)), [(one, IP.into(), 120)]);
        assert_eq!(responder.poll_timeout(), Some(at(2_000)));
        assert_eq!(sent(&mut responder, at(2_000)), [(Destination::Link(LINK), IP.into(), 120)]);
    }

    /// Those that are taken back have to say so, and take no place meanwhile.
    #[test]
    fn a_name_that_is_taken_back_makes_room_for_another() {
        let mut responder = Responder::new();
        let register = |responder: &mut Responder, number: usize| {
            responder.register(at(0), LINK, &format!("{number}.local"), IP.parse().unwrap())
        };
        for number in 0..MAX_NAMES {
            register(&mut responder, number).unwrap();
        }
        assert!(!sent(&mut responder, at(0)).is_empty());
        assert_eq!(register(&mut responder, MAX_NAMES), Err(TooManyNames));
        responder.unregister(at(1), "0.local");
        assert_eq!(register(&mut responder, MAX_NAMES), Ok(()));
    }

    #[test]
    fn a_new_name_is_announced_however_many_ask_for_another() {
        let mut responder = quiet();
        let (mut told, mut now) = (0, at(5_000));
        let asker = |port| Arrival {
            from: SocketAddr::from(([192, 168, 1, 9], port)),
            ..from("192.168.1.9:9")
        };
        responder.register(now, LINK, OTHER, IP.parse().unwrap()).unwrap();
        for port in 10_000..10_500 {
            for more in 0..4 {
                responder.handle_datagram(now, asker(port + more), &question(NAME, false));
            }
            let packets = sent(&mut responder, now);
            told += packets.iter().filter(|(to, ..)| *to == Destination::Link(LINK)).count();
            now += Duration::from_millis(5);
        }
        assert!(told >= 2, "{told}");
    }

    /// RFC 6762 section 6.
    #[test]
    fn a_record_is_sent_to_all_once_a_second_however_many_ask() {
        let mut responder = quiet();
        let mut packets = 0;
        for millis in 5_000..10_000 {
            let asker = SocketAddr::from(([192, 168, 1, 9], PORT));
            let arrival = Arrival { link: LINK, from: asker, own: false };
            responder.handle_datagram(at(millis), arrival, &question(NAME, false));
            packets += sent(&mut responder, at(millis)).len();
        }
        assert_eq!(packets, 5);
    }

    #[test]
    fn only_names_of_ours_are_answered_for_and_only_on_their_link() {
        let mut responder = quiet();
        let asker = from("192.168.1.9:5353");
        responder.handle_datagram(at(5_000), asker, &question(OTHER, false));
        let elsewhere = Arrival { link: LinkId(3), ..asker };
        responder.handle_datagram(at(5_000), elsewhere, &question(NAME, false));
        let mut answer = question(NAME, false);
        answer[2] = 0x84;
        responder.handle_datagram(at(5_000), asker, &answer);
        let whole = question(NAME, false);
        for end in 0..whole.len() {
            responder.handle_datagram(at(5_000), asker, &whole[..end]);
        }
        assert_eq!(responder.poll_timeout(), None);
    }

    /// RFC 6762 section 7.1.
    #[test]
    fn who_knows_the_answer_is_not_told() {
        let mut responder = quiet();
        let mut known = question(NAME, false);
        let mut buf = [0; 512];
        for (ttl, due) in [(60, false), (59, true)] {
            let mut writer = Writer::response(&mut buf, 0).unwrap();
            assert!(writer.answer(NAME, IP.parse().unwrap(), ttl, false));
            let len = writer.finish();
            known.truncate(question(NAME, false).len());
            known.extend(&buf[12..len]);
            known[7] = 1;
            responder.handle_datagram(at(5_000), from("192.168.1.9:5353"), &known);
            assert_eq!(responder.poll_timeout().is_some(), due, "{ttl}");
        }
    }

    /// RFC 6762 section 6.7: the id and the question come back, and the answer is not kept long.
    #[test]
    fn who_asks_from_another_port_is_answered_as_by_any_dns_server() {
        let mut responder = quiet();
        let mut query = question(NAME, false);
        query[..2].copy_from_slice(&[0xAB, 0xCD]);
        let asker = "192.168.1.9:40000";
        responder.handle_datagram(at(1_100), from(asker), &query);
        let mut buf = [0; 1200];
        let packet = responder.poll_transmit(at(1_100), &mut buf).unwrap();
        assert_eq!(packet.to, Destination::Address(LINK, asker.parse().unwrap()));
        let message = Message::parse(&buf[packet.range]).unwrap();
        assert_eq!(message.id(), 0xABCD);
        let items: Vec<_> = message.items().collect();
        let [Item::Question(question), Item::Record(record), _] = &items[..] else {
            panic!("{items:?}");
        };
        assert_eq!((question.kind, record.ttl, record.flush), (A, 10, false));
        assert!(responder.poll_transmit(at(1_100), &mut buf).is_none());
    }

    /// RFC 6762 section 6.1.
    #[test]
    fn who_asks_for_the_other_family_learns_that_there_is_none() {
        let mut responder = quiet();
        let mut query = question(NAME, false);
        // The first of the two questions alone.
        query.truncate(query.len() - 6);
        query[5] = 1;
        let kind = query.len() - 4..query.len() - 2;
        query[kind].copy_from_slice(&AAAA.to_be_bytes());
        responder.handle_datagram(at(5_000), from("192.168.1.9:5353"), &query);
        let mut buf = [0; 1200];
        let packet = responder.poll_transmit(at(5_000), &mut buf).unwrap();
        // NSEC: of the types below 8 that of A alone.
        assert!(buf[packet.range].ends_with(&[0, 1, 0x40]));
    }

    /// RFC 6762 section 10.1.
    #[test]
    fn a_name_that_goes_is_taken_back_once() {
        let mut responder = quiet();
        responder.unregister(at(5_000), NAME);
        responder.handle_datagram(at(5_000), from("192.168.1.9:5353"), &question(NAME, false));
        assert_eq!(sent(&mut responder, at(5_000)), [(Destination::Link(LINK), IP.into(), 0)]);
        assert!(responder.is_idle() && responder.poll_timeout().is_none());
        responder.register(at(6_000), LINK, NAME, IP.parse().unwrap()).unwrap();
        responder.unregister(at(6_000), NAME);
        assert!(responder.is_idle(), "what nobody heard of needs no goodbye");
    }

    /// [mdns-ice-candidates-7.1-1] [mdns-ice-candidates-7.1-2]
    #[test]
    fn names_that_come_and_go_and_askers_without_end_make_few_packets() {
        let mut responder = quiet();
        let mut packets = 0;
        let mut buf = [0; 1200];
        for number in 0..2_000u16 {
            let now = at(5_000 + u64::from(number) * 5);
            let name = format!("{number}.local");
            let _ = responder.register(now, LINK, &name, IP.parse().unwrap());
            let [high, low] = number.to_be_bytes();
            let asker = SocketAddr::from(([192, 168, high, low], 40_000));
            responder.handle_datagram(
                now,
                Arrival { link: LINK, from: asker, own: false },
                &question(NAME, false),
            );
            packets += core::iter::from_fn(|| responder.poll_transmit(now, &mut buf)).count();
            if number % 2 == 0 {
                responder.unregister(now, &name);
            }
            assert!(responder.names.len() <= 2 * MAX_NAMES && responder.owed.len() <= MAX_OWED);
        }
        assert!(packets <= 221, "{packets}");
    }
}
