//! Claims about multicast DNS.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use floe::Instant;
use floe::probe::mdns::{
    Arrival, Destination, Item, LinkId, MAX_PACKET, MAX_QUESTIONS, Message, PACKETS_PER_SECOND,
    PATIENCE, Querier, Responder,
};

use super::Input;

/// Names that are asked for and answered for, and that packets speak of.
const NAMES: [&str; 4] = [
    "9b36eaac-bb2e-49bb-bb78-21c41c499900.local",
    "76c82649-02d6-4030-8aef-a2ba3a9019d5.local",
    "b977f597-260c-4f70-9ac4-26e69b55f966.local",
    "ac4595a7-7e42-4e85-85e6-c292abe0e681.local",
];

/// Both machines, and what they did.
struct Host {
    now: Instant,
    querier: Querier,
    responder: Responder,
    asked: Vec<&'static str>,
    sent: u32,
}

impl Host {
    /// Takes all that is due, and checks what leaves.
    fn drain(&mut self) {
        self.querier.handle_timeout(self.now);
        let mut buf = [0; MAX_PACKET];
        while let Some(packet) = self.querier.poll_transmit(self.now, &mut buf) {
            let message = Message::parse(&buf[packet.range]).expect("a query that can be read");
            assert!(!message.is_response() && packet.to == Destination::Everywhere);
            for item in message.items() {
                let Item::Question(question) = item else { panic!("{item:?} in a query") };
                let name = question.name.as_str().expect("a plain name");
                assert!(self.asked.contains(&name), "{name} was not asked for");
            }
            self.sent += 1;
        }
        while let Some(packet) = self.responder.poll_transmit(self.now, &mut buf) {
            let message = Message::parse(&buf[packet.range]).expect("a response that can be read");
            assert!(message.is_response() && packet.to != Destination::Everywhere);
            self.sent += 1;
        }
        while let Some(resolution) = self.querier.poll_resolution() {
            let place = self.asked.iter().position(|name| **name == resolution.name);
            self.asked.swap_remove(place.expect("nobody asked for it"));
        }
        let next = [self.querier.poll_timeout(), self.responder.poll_timeout()];
        for next in next.into_iter().flatten() {
            assert!(next > self.now, "something is left to do");
        }
    }

    /// Goes on to the next deadline, or as far as `limit`.
    fn wait(&mut self, limit: Duration) {
        let next = [self.querier.poll_timeout(), self.responder.poll_timeout()];
        let limit = self.now + limit;
        self.now = next.into_iter().flatten().fold(limit, Instant::min);
        self.drain();
    }

    fn deliver(&mut self, arrival: Arrival, datagram: &[u8]) {
        if let Some(message) = Message::parse(datagram) {
            for item in message.items() {
                let (Item::Question(floe::probe::mdns::Question { name, .. })
                | Item::Record(floe::probe::mdns::Record { name, .. })) = item;
                assert!(name.as_str().is_none_or(|name| name.len() <= 255 && name.is_ascii()));
            }
        }
        self.querier.handle_datagram(self.now, arrival, datagram);
        self.responder.handle_datagram(self.now, arrival, datagram);
    }
}

/// Whatever comes from the link, and whatever is asked and answered for: messages are read whole or
/// refused, what leaves can be read and says nothing that nobody asked for, its pace is bounded,
/// nothing is due before the deadline that is told, only names that are asked for are resolved, each
/// once, and all comes to rest.
pub fn mdns(data: &[u8]) {
    let mut input = Input(data);
    let start = Instant::from_millis(1_000);
    let mut host = Host {
        now: start,
        querier: Querier::new(),
        responder: Responder::new(),
        asked: Vec::new(),
        sent: 0,
    };
    while !input.is_empty() {
        let what = input.octet();
        let name = NAMES[usize::from(what >> 3 & 3)];
        let link = LinkId(u32::from(what >> 7));
        match what & 7 {
            0 => {
                if host.querier.ask(host.now, name).is_ok() && !host.asked.contains(&name) {
                    host.asked.push(name);
                }
            }
            1 => {
                host.querier.forget(name);
                // What was resolved already is still told.
                host.drain();
                host.asked.retain(|asked| *asked != name);
            }
            2 => {
                let ip = IpAddr::V4(Ipv4Addr::from(input.array::<4>()));
                let _ = host.responder.register(host.now, link, name, ip);
            }
            3 => host.responder.unregister(host.now, name),
            4 => host.wait(Duration::from_millis(input.u16().into())),
            5 => host.responder.remove_link(link),
            _ => {
                let octets = input.array::<4>();
                let port = if octets[3] & 1 == 0 { 5353 } else { 5354 };
                let from = SocketAddr::from((octets, port));
                let arrival = Arrival { link, from, own: what & 0x20 != 0 };
                let datagram = match what & 1 {
                    0 => input.chunk().to_vec(),
                    _ => speaking(&mut input, name),
                };
                host.deliver(arrival, &datagram);
            }
        }
        host.drain();
        assert!(host.asked.len() <= MAX_QUESTIONS);
    }
    for name in NAMES {
        host.responder.unregister(host.now, name);
    }
    for _ in 0..1_000 {
        host.wait(PATIENCE * 2);
    }
    assert!(host.querier.is_idle() && host.responder.is_idle(), "it does not come to rest");
    let seconds = host.now.since(start).as_secs() + 2;
    let most = seconds * u64::from(2 * PACKETS_PER_SECOND);
    assert!(u64::from(host.sent) <= most, "{} packets in {seconds} s", host.sent);
}

/// A message about a name: any header, any type, and what the input has for data.
fn speaking(input: &mut Input<'_>, name: &str) -> Vec<u8> {
    let mut message = vec![0, 0, input.octet(), 0, 0, input.octet() & 1, 0, input.octet() & 3];
    message.extend([0, 0, 0, 0]);
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).expect("a short label"));
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(input.chunk());
    message
}
