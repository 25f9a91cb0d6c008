//! Messages: as much of DNS as addresses of names need. [RFC 1035 §4] [RFC 6762 §18]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Questions and records of a message that are read; of more, none counts.
const MAX_ITEMS: usize = 128;
/// Pointers that are followed in one name. Each leads backwards.
const MAX_JUMPS: usize = 16;
/// The longest name, in octets of text.
const MAX_NAME: usize = 255;
/// The longest label.
const MAX_LABEL: usize = 63;
/// The header.
const HEADER: usize = 12;

/// The type of IPv4 addresses.
const A: u16 = 1;
/// The type of IPv6 addresses.
const AAAA: u16 = 28;
/// The type that says which others there are.
const NSEC: u16 = 47;
/// The class of the Internet.
pub(super) const IN: u16 = 1;
/// Any class, in questions.
pub(super) const ANY_CLASS: u16 = 255;
/// In questions: answers by unicast are wanted. In records: those known before are void.
const TOP_BIT: u16 = 0x8000;
/// QR: a response.
const RESPONSE: u16 = 0x8000;
/// AA, which all responses have.
const AUTHORITATIVE: u16 = 0x0400;
/// OPCODE and RCODE, zero in all that counts. [RFC 6762 §18.3, §18.11]
const CODES: u16 = 0x780F;

/// A name, in small letters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name {
    octets: [u8; MAX_NAME],
    len: usize,
    /// No label has a dot in it, or an octet that is not ASCII.
    plain: bool,
}

impl Name {
    const ROOT: Self = Self { octets: [0; MAX_NAME], len: 0, plain: true };

    /// Returns the labels with dots between them; `None` for a name that text cannot tell from
    /// others: with a dot in a label, or octets that are not ASCII.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        let octets = self.octets.get(..self.len).filter(|_| self.plain)?;
        core::str::from_utf8(octets).ok()
    }

    fn push(&mut self, label: &[u8]) -> Option<()> {
        let dot = usize::from(self.len > 0);
        let end = self.len.checked_add(dot + label.len())?;
        let place = self.octets.get_mut(self.len..end)?;
        if let Some(first) = place.first_mut().filter(|_| dot > 0) {
            *first = b'.';
        }
        for (to, octet) in place.iter_mut().skip(dot).zip(label) {
            *to = octet.to_ascii_lowercase();
        }
        self.plain &= label.iter().all(|octet| octet.is_ascii() && *octet != b'.');
        self.len = end;
        Some(())
    }
}

impl core::fmt::Debug for Name {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?}", self.as_str().unwrap_or("?"))
    }
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What is asked for.
    pub name: Name,
    /// The type: 1 is A, 28 AAAA, 255 any.
    pub kind: u16,
    /// The class: 1 is IN, 255 any.
    pub class: u16,
    /// Whether the answer is wanted by unicast.
    pub unicast: bool,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it says something of.
    pub name: Name,
    /// The type.
    pub kind: u16,
    /// The class.
    pub class: u16,
    /// Whether it replaces all that was known of name, type and class.
    pub flush: bool,
    /// How long it may be kept, in seconds; 0 takes it back.
    pub ttl: u32,
    /// The address of an A or AAAA record of the class IN.
    pub address: Option<IpAddr>,
}

/// What a message is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A question.
    Question(Question),
    /// A record, of whichever section.
    Record(Record),
}

/// A message that is whole and well-formed.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    octets: &'a [u8],
    id: u16,
    flags: u16,
    questions: usize,
    items: usize,
}

impl<'a> Message<'a> {
    /// Reads a datagram; `None` if anything in it is damaged, its counts promise more than
    /// 128 questions and records or than there are, or it is no query or response that succeeded.
    #[must_use]
    pub fn parse(octets: &'a [u8]) -> Option<Self> {
        let id = u16_at(octets, 0)?;
        let flags = u16_at(octets, 2)?;
        let mut counts = [0; 4];
        for (place, count) in counts.iter_mut().enumerate() {
            *count = usize::from(u16_at(octets, 4 + 2 * place)?);
        }
        let [questions, ..] = counts;
        let items = counts.iter().sum();
        if flags & CODES != 0 || items > MAX_ITEMS {
            return None;
        }
        let message = Self { octets, id, flags, questions, items };
        (message.items().count() == items).then_some(message)
    }

    /// Returns the id, which a query from another port than 5353 gets back.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.id
    }

    /// Returns whether it is a response.
    #[must_use]
    pub fn is_response(&self) -> bool {
        self.flags & RESPONSE != 0
    }

    /// Returns the questions, and then the records.
    #[must_use]
    pub fn items(&self) -> Items<'a> {
        Items { octets: self.octets, at: HEADER, questions: self.questions, left: self.items }
    }
}

/// The questions and records of a message, in their order.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    octets: &'a [u8],
    at: usize,
    questions: usize,
    left: usize,
}

impl Items<'_> {
    fn question(&mut self) -> Option<Question> {
        let (name, at) = name_at(self.octets, self.at)?;
        let (kind, class) = (u16_at(self.octets, at)?, u16_at(self.octets, at + 2)?);
        self.at = at + 4;
        let unicast = class & TOP_BIT != 0;
        Some(Question { name, kind, class: class & !TOP_BIT, unicast })
    }

    fn record(&mut self) -> Option<Record> {
        let (name, at) = name_at(self.octets, self.at)?;
        let (kind, class) = (u16_at(self.octets, at)?, u16_at(self.octets, at + 2)?);
        let ttl = u32::from(u16_at(self.octets, at + 4)?) << 16;
        let ttl = ttl | u32::from(u16_at(self.octets, at + 6)?);
        let length = usize::from(u16_at(self.octets, at + 8)?);
        let data = self.octets.get(at + 10..at + 10 + length)?;
        self.at = at + 10 + length;
        let (flush, class) = (class & TOP_BIT != 0, class & !TOP_BIT);
        let address = match (class, kind) {
            (IN, A) => Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?))),
            (IN, AAAA) => Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?))),
            _ => None,
        };
        Some(Record { name, kind, class, flush, ttl, address })
    }
}

impl Iterator for Items<'_> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        self.left = self.left.checked_sub(1)?;
        let item = match self.questions.checked_sub(1) {
            Some(questions) => {
                self.questions = questions;
                self.question().map(Item::Question)
            }
            None => self.record().map(Item::Record),
        };
        if item.is_none() {
            self.left = 0;
        }
        item
    }
}

fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    let octets = octets.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*octets))
}

/// Reads the name at `at`, and returns where it ends. A pointer leads to before the place where
/// what it ends began, so that there is no loop.
fn name_at(octets: &[u8], mut at: usize) -> Option<(Name, usize)> {
    let mut name = Name::ROOT;
    let mut end = None;
    let (mut began, mut jumps) = (at, 0);
    loop {
        let length = usize::from(*octets.get(at)?);
        match length {
            0 => return Some((name, end.unwrap_or(at + 1))),
            1..=MAX_LABEL => {
                name.push(octets.get(at + 1..at + 1 + length)?)?;
                at += 1 + length;
            }
            0xC0.. => {
                let to = usize::from(u16_at(octets, at)? & 0x3FFF);
                end.get_or_insert(at + 2);
                jumps += 1;
                if to >= began || to < HEADER || jumps > MAX_JUMPS {
                    return None;
                }
                (began, at) = (to, to);
            }
            _ => return None,
        }
    }
}

/// Writes a message into a buffer; what does not fit is not written.
#[derive(Debug)]
pub(super) struct Writer<'b> {
    buf: &'b mut [u8],
    len: usize,
    counts: [u16; 4],
    /// The name that was written in full last: where, and how long it is.
    last: (usize, usize),
}

/// The sections that are written.
#[derive(Clone, Copy, Debug)]
enum Section {
    Questions = 0,
    Answers = 1,
    Additional = 3,
}

impl<'b> Writer<'b> {
    /// Begins a query, with no id. [RFC 6762 §18.1]
    pub(super) fn query(buf: &'b mut [u8]) -> Option<Self> {
        Self::new(buf, 0, 0)
    }

    /// Begins a response; the id is that of a query from another port than 5353, else 0.
    pub(super) fn response(buf: &'b mut [u8], id: u16) -> Option<Self> {
        Self::new(buf, id, RESPONSE | AUTHORITATIVE)
    }

    fn new(buf: &'b mut [u8], id: u16, flags: u16) -> Option<Self> {
        let most = buf.len().min(super::MAX_PACKET);
        let buf = buf.get_mut(..most)?;
        let [a, b] = id.to_be_bytes();
        let [c, d] = flags.to_be_bytes();
        *buf.first_chunk_mut::<HEADER>()? = [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0];
        Some(Self { buf, len: HEADER, counts: [0; 4], last: (0, 0) })
    }

    /// Asks for the addresses of a name, of either family; false if there is no room.
    pub(super) fn ask(&mut self, name: &str, unicast: bool) -> bool {
        let class = if unicast { IN | TOP_BIT } else { IN };
        self.write(|writer| {
            for kind in [A, AAAA] {
                writer.name(name)?;
                writer.u16(kind)?;
                writer.u16(class)?;
                writer.count(Section::Questions)?;
            }
            Some(())
        })
    }

    /// Repeats a question. [RFC 6762 §6.7]
    pub(super) fn repeat(&mut self, name: &str, kind: u16) -> bool {
        self.write(|writer| {
            writer.name(name)?;
            writer.u16(kind)?;
            writer.u16(IN)?;
            writer.count(Section::Questions)
        })
    }

    /// Answers with an address; false if there is no room.
    pub(super) fn answer(&mut self, name: &str, ip: IpAddr, ttl: u32, flush: bool) -> bool {
        self.write(|writer| {
            writer.head(name, of(ip), ttl, flush)?;
            match ip {
                IpAddr::V4(ip) => writer.data(&ip.octets())?,
                IpAddr::V6(ip) => writer.data(&ip.octets())?,
            }
            writer.count(Section::Answers)
        })
    }

    /// Says that a name has this one address and nothing else, so that nobody waits for the other
    /// family. [RFC 6762 §6.1]
    pub(super) fn nothing_else(&mut self, name: &str, ip: IpAddr, ttl: u32, flush: bool) -> bool {
        self.write(|writer| {
            writer.head(name, NSEC, ttl, flush)?;
            let (at, _) = writer.last;
            let [high, low] = (0xC000 | u16::try_from(at).ok()?).to_be_bytes();
            match ip {
                IpAddr::V4(_) => writer.data(&[high, low, 0, 1, 0x40])?,
                IpAddr::V6(_) => writer.data(&[high, low, 0, 4, 0, 0, 0, 0x08])?,
            }
            writer.count(Section::Additional)
        })
    }

    /// Whether nothing but a header was written.
    pub(super) fn is_empty(&self) -> bool {
        self.counts == [0; 4]
    }

    /// Ends the message and returns its length.
    pub(super) fn finish(self) -> usize {
        for (place, count) in self.counts.iter().enumerate() {
            if let Some(to) = self.buf.get_mut(4 + 2 * place..6 + 2 * place) {
                to.copy_from_slice(&count.to_be_bytes());
            }
        }
        self.len
    }

    /// Writes all of something or nothing.
    fn write(&mut self, what: impl FnOnce(&mut Self) -> Option<()>) -> bool {
        let before = (self.len, self.counts, self.last);
        let whole = what(self).is_some();
        if !whole {
            (self.len, self.counts, self.last) = before;
        }
        whole
    }

    fn head(&mut self, name: &str, kind: u16, ttl: u32, flush: bool) -> Option<()> {
        self.name(name)?;
        self.u16(kind)?;
        self.u16(if flush { IN | TOP_BIT } else { IN })?;
        self.octets(&ttl.to_be_bytes())
    }

    fn data(&mut self, data: &[u8]) -> Option<()> {
        self.u16(u16::try_from(data.len()).ok()?)?;
        self.octets(data)
    }

    /// Writes a name, or a pointer to where it stands already.
    fn name(&mut self, name: &str) -> Option<()> {
        let start = self.len;
        for label in name.split('.') {
            let length = u8::try_from(label.len()).ok();
            let length = length.filter(|length| (1..=MAX_LABEL).contains(&usize::from(*length)))?;
            self.octets(&[length])?;
            self.octets(label.as_bytes())?;
        }
        self.octets(&[0])?;
        let (at, length) = self.last;
        let same = self.buf.get(at..at + length) == self.buf.get(start..self.len);
        if length > 0 && same {
            self.len = start;
            return self.u16(0xC000 | u16::try_from(at).ok()?);
        }
        self.last = (start, self.len - start);
        Some(())
    }

    fn count(&mut self, section: Section) -> Option<()> {
        let count = self.counts.get_mut(section as usize)?;
        *count = count.checked_add(1)?;
        Some(())
    }

    fn u16(&mut self, number: u16) -> Option<()> {
        self.octets(&number.to_be_bytes())
    }

    fn octets(&mut self, octets: &[u8]) -> Option<()> {
        let end = self.len.checked_add(octets.len())?;
        self.buf.get_mut(self.len..end)?.copy_from_slice(octets);
        self.len = end;
        Some(())
    }
}

/// The type of an address.
fn of(ip: IpAddr) -> u16 {
    if ip.is_ipv4() { A } else { AAAA }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any type.
    const ANY: u16 = 255;
    const NAME: &str = "9b36eaac-bb2e-49bb-bb78-21c41c499900.local";

    /// A header with these counts, and what follows it.
    fn message(flags: u16, counts: [u16; 4], rest: &[u8]) -> Vec<u8> {
        let mut octets = vec![0, 7];
        octets.extend(flags.to_be_bytes());
        octets.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
        octets.extend(rest);
        octets
    }

    #[test]
    fn what_is_written_is_read() {
        let mut buf = [0; 512];
        for ip in ["192.0.2.7", "2001:db8::7"].map(|ip| ip.parse::<IpAddr>().unwrap()) {
            let mut writer = Writer::response(&mut buf, 3).unwrap();
            assert!(writer.repeat(NAME, ANY) && writer.answer(NAME, ip, 120, true));
            assert!(writer.nothing_else(NAME, ip, 120, true));
            let len = writer.finish();
            let read = Message::parse(&buf[..len]).unwrap();
            assert!(read.is_response() && read.id() == 3);
            let items: Vec<_> = read.items().collect();
            let [Item::Question(question), Item::Record(answer), Item::Record(nsec)] = &items[..]
            else {
                panic!("{items:?}");
            };
            assert_eq!((question.name.as_str(), question.kind), (Some(NAME), ANY));
            assert_eq!((answer.name, answer.kind, answer.class), (question.name, of(ip), IN));
            assert_eq!((answer.flush, answer.ttl, answer.address), (true, 120, Some(ip)));
            assert_eq!((nsec.name, nsec.kind, nsec.address), (question.name, NSEC, None));
        }
    }

    #[test]
    fn a_question_for_both_families_is_short_and_says_how_it_is_to_be_answered() {
        let mut buf = [0; 512];
        for unicast in [true, false] {
            let mut writer = Writer::query(&mut buf).unwrap();
            assert!(writer.ask(NAME, unicast));
            let len = writer.finish();
            assert_eq!(len, 12 + 44 + 4 + 2 + 4);
            let read = Message::parse(&buf[..len]).unwrap();
            assert!(!read.is_response());
            let asked: Vec<_> = read.items().collect();
            for (item, kind) in asked.iter().zip([A, AAAA]) {
                let Item::Question(question) = item else { panic!("{item:?}") };
                assert_eq!((question.name.as_str(), question.kind), (Some(NAME), kind));
                assert_eq!((question.class, question.unicast), (IN, unicast));
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        let mut buf = [0; 110];
        let mut writer = Writer::query(&mut buf).unwrap();
        assert!(writer.ask(NAME, true));
        assert!(!writer.ask("another-name-that-is-quite-long-as-they-are.local", true));
        let len = writer.finish();
        assert_eq!(Message::parse(&buf[..len]).unwrap().items().count(), 2);
        assert!(Writer::query(&mut [0; 11]).is_none());
    }

    #[test]
    fn a_name_that_points_to_itself_or_forward_is_refused() {
        let tail = [0, 1, 0, 1];
        for pointers in [
            &[0xC0, 12][..],
            &[0xC0, 14, 0xC0, 12],
            &[0xC0, 16, 0, 0],
            &[1, b'a', 0xC0, 12],
            &[0xC0, 0],
            &[0xFF, 0xFF],
            &[0xC0],
        ] {
            let octets = message(0, [1, 0, 0, 0], &[pointers, &tail].concat());
            assert!(Message::parse(&octets).is_none(), "{pointers:?}");
        }
    }

    #[test]
    fn a_chain_of_pointers_has_an_end() {
        // Each name is a pointer to the one before.
        for length in [MAX_JUMPS, MAX_JUMPS + 1] {
            let mut rest = vec![1, b'a', 0, 0, 1, 0, 1];
            let mut to = 12;
            for _ in 0..length {
                let here = 12 + rest.len();
                rest.extend([0xC0, u8::try_from(to).unwrap(), 0, 1, 0, 1]);
                to = here;
            }
            let questions = u16::try_from(length + 1).unwrap();
            let octets = message(0, [questions, 0, 0, 0], &rest);
            assert_eq!(Message::parse(&octets).is_some(), length == MAX_JUMPS);
        }
    }

    #[test]
    fn a_name_longer_than_any_is_refused() {
        let mut rest = Vec::new();
        for _ in 0..4 {
            rest.push(63);
            rest.extend([b'a'; 63]);
        }
        rest.extend([0, 0, 1, 0, 1]);
        let long = message(0, [1, 0, 0, 0], &rest);
        assert_eq!(Message::parse(&long).unwrap().items().count(), 1);
        rest.splice(0..0, [1, b'b']);
        assert!(Message::parse(&message(0, [1, 0, 0, 0], &rest)).is_none());
        let reserved = message(0, [1, 0, 0, 0], &[0x41, b'a', 0, 0, 1, 0, 1]);
        assert!(Message::parse(&reserved).is_none());
    }

    #[test]
    fn counts_that_promise_more_than_there_is_are_refused() {
        let one = [0, 0, 1, 0, 1];
        assert!(Message::parse(&message(0, [1, 0, 0, 0], &one)).is_some());
        for counts in [[2, 0, 0, 0], [1, 1, 0, 0], [1, 0, 0, 1], [0xFFFF; 4], [0, 1, 0, 0]] {
            assert!(Message::parse(&message(0, counts, &one)).is_none(), "{counts:?}");
        }
        let many = one.repeat(MAX_ITEMS + 1);
        assert!(Message::parse(&message(0, [128, 0, 0, 0], &many)).is_some());
        assert!(Message::parse(&message(0, [129, 0, 0, 0], &many)).is_none());
    }

    #[test]
    fn every_beginning_of_a_message_is_read_or_refused_and_only_the_whole_counts() {
        let mut buf = [0; 512];
        let mut writer = Writer::response(&mut buf, 0).unwrap();
        let ip = "2001:db8::7".parse().unwrap();
        assert!(writer.answer(NAME, ip, 120, true) && writer.nothing_else(NAME, ip, 120, true));
        let len = writer.finish();
        for end in 0..len {
            assert!(Message::parse(&buf[..end]).is_none(), "{end}");
        }
        assert!(Message::parse(&buf[..len]).is_some());
    }

    #[test]
    fn addresses_of_a_wrong_length_and_codes_other_than_zero_are_refused() {
        let a = |data: &[u8]| {
            let mut rest = vec![0, 0, 1, 0, 1, 0, 0, 0, 120, 0, u8::try_from(data.len()).unwrap()];
            rest.extend(data);
            rest
        };
        let read = |flags, data: &[u8]| {
            Message::parse(&message(flags, [0, 1, 0, 0], &a(data))).map(|m| m.items().count())
        };
        assert_eq!(read(0x8400, &[1, 2, 3, 4]), Some(1));
        for data in [&[][..], &[1, 2, 3], &[1, 2, 3, 4, 5]] {
            assert_eq!(read(0x8400, data), None, "{data:?}");
        }
        assert_eq!(read(0x8403, &[1, 2, 3, 4]), None);
        assert_eq!(read(0xA800, &[1, 2, 3, 4]), None);
    }

    #[test]
    fn a_dot_in_a_label_makes_no_other_name() {
        let mut rest = vec![7];
        rest.extend(b"a.local");
        rest.extend([0, 0, 1, 0, 1]);
        let octets = message(0, [1, 0, 0, 0], &rest);
        let items: Vec<_> = Message::parse(&octets).unwrap().items().collect();
        let [Item::Question(question)] = &items[..] else { panic!("{items:?}") };
        assert_eq!(question.name.as_str(), None);
    }
}
