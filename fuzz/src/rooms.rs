//! Claims about signalling servers, and about the bodies that travel through them.

use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};

use floe::Instant;
use floe::adapters::data_channel::{DataChannel, DataChannelSignaling, Fingerprint};
use floe::sdp::Description;
use floe::signaling::rooms::{Limits, LinkId, Member, MemberEvent, Output, Rooms};
use floe::signaling::{Signal, Signaling, memory};

use super::Input;

/// The words that strangers put into their messages.
const WORDS: [&str; 16] = [
    "{\"type\":\"join\",\"member\":\"FAKE-SECRET-FAKE\"}",
    "{\"type\":\"join\",\"member\":\"FAKE-SECRET-MORE\",\"session\":\"0\",\"received\":1}",
    "{\"type\":\"join\",\"member\":\"short\"}",
    "{\"type\":\"leave\"}",
    "{\"type\":\"offer\",\"sdp\":\"v=0\"}",
    "{\"type\":\"answer\",\"sdp\":\"v=0\"}",
    "{\"type\":\"candidate\",\"candidate\":{\"candidate\":\"\"}}",
    "{\"type\":\"peer\",\"session\":\"0\",\"offers\":true}",
    "{\"type\":\"join\",\"member\":",
    "\"FAKE-SECRET-FAKE\"",
    ",\"session\":\"",
    "\",\"received\":",
    "18446744073709551615",
    "}",
    "",
    "\u{0}",
];
/// The room of the two that keep to the rules.
const ROOM: &str = "ours";
/// How many signals each of them sends.
const SIGNALS: usize = 20;
/// How many sessions they give up: with their signals no more than is allowed at once.
const RENEWALS: usize = 50;

/// One of two that keep to the rules, and its connection.
struct Honest {
    member: Member,
    link: LinkId,
    sent: usize,
    heard: Vec<String>,
    has_peer: bool,
}

/// Whatever strangers say, and whenever they come and go: the tables stay in their limits, what is
/// written is for connections that are there, and two that keep to the rules hear all that they
/// say to each other, once and in order.
pub fn rooms(data: &[u8]) {
    let mut input = Input(data);
    let mut limits = Limits::default();
    (limits.rooms, limits.links) = (4, 12);
    let (most_rooms, most_links) = (limits.rooms, limits.links);
    let mut now = Instant::ZERO;
    let mut servers = 0;
    let mut rooms = server(servers, &limits);
    let mut honest = [1, 2].map(|secret| {
        let link = rooms.connect(now, ROOM).expect("a place");
        let mut member = Member::new([secret; 16]);
        member.connected();
        Honest { member, link, sent: 0, heard: Vec::new(), has_peer: false }
    });
    let mut strangers: Vec<LinkId> = Vec::new();
    let mut renewals = 0;
    carry(&mut rooms, now, &mut honest, &mut strangers);
    while !input.is_empty() {
        let [what, which] = input.array();
        let stranger = strangers.get(usize::from(which) % strangers.len().max(1)).copied();
        match what % 10 {
            0 => {
                let name =
                    [ROOM, "a", "b", "c", "d", "e", "not a name", ""][usize::from(which) % 8];
                strangers.extend(rooms.connect(now, name).ok());
            }
            1 => {
                if let Some(id) = stranger {
                    strangers.retain(|known| *known != id);
                    rooms.disconnect(now, id);
                }
            }
            2 => {
                now += core::time::Duration::from_millis(u64::from(which) * 200);
                rooms.handle_timeout(now);
            }
            3 => {
                let Honest { member, sent, has_peer, .. } = &mut honest[usize::from(which) % 2];
                if *has_peer && *sent < SIGNALS {
                    *sent += 1;
                    member.send(&Signal::Offer { sdp: sent.to_string() }).expect("short");
                }
            }
            4 => {
                // A connection breaks, and the next one goes on.
                let broken = &mut honest[usize::from(which) % 2];
                rooms.disconnect(now, broken.link);
                if let Ok(link) = rooms.connect(now, ROOM) {
                    broken.link = link;
                    broken.member.connected();
                } else {
                    // The strangers have all connections: one of them goes.
                    let gone = strangers.pop().expect("somebody has them");
                    rooms.disconnect(now, gone);
                    broken.link = rooms.connect(now, ROOM).expect("there is room now");
                    broken.member.connected();
                }
            }
            6 if renewals < RENEWALS => {
                renewals += 1;
                renew(&mut honest, usize::from(which) % 2);
            }
            7 => {
                // The server is started anew; whoever is back first may have had enough.
                servers += 1;
                rooms = server(servers, &limits);
                strangers.clear();
                let renews = which & 2 != 0 && renewals < RENEWALS;
                renewals += usize::from(renews);
                come_back(&mut rooms, now, &mut honest, usize::from(which) % 2, renews);
            }
            5 => {
                let raw = String::from_utf8_lossy(input.chunk()).into_owned();
                if let Some(id) = stranger {
                    rooms.receive(now, id, &raw);
                }
            }
            _ => {
                let [first, second] = input.array::<2>().map(|word| WORDS[usize::from(word) % 16]);
                if let Some(id) = stranger {
                    rooms.receive(now, id, &format!("{first}{second}"));
                }
            }
        }
        carry(&mut rooms, now, &mut honest, &mut strangers);
        let (count, links) = rooms.count();
        assert!(count <= most_rooms && links <= most_links, "{count} rooms, {links} connections");
    }
    // Whatever was, they are in a session with each other.
    for one in &mut honest {
        one.sent += 1;
        one.member.send(&Signal::Offer { sdp: one.sent.to_string() }).expect("short");
    }
    now += core::time::Duration::from_secs(60);
    carry(&mut rooms, now, &mut honest, &mut strangers);
    for (own, other) in [(0, 1), (1, 0)] {
        let expected: Vec<String> = (1..=honest[own].sent).map(|n| n.to_string()).collect();
        assert_eq!(honest[other].heard, expected, "lost, doubled or out of order");
    }
}

/// A server, which names its sessions as none before did.
fn server(number: u64, limits: &Limits) -> Rooms {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&number.to_be_bytes());
    Rooms::new(seed, limits.clone())
}

/// Both are back, one after the other; the first may renew before the second is there.
fn come_back(
    rooms: &mut Rooms,
    now: Instant,
    honest: &mut [Honest; 2],
    first: usize,
    renews: bool,
) {
    for number in [first, 1 - first] {
        honest[number].link = rooms.connect(now, ROOM).expect("there is room");
        honest[number].member.connected();
        if number == first && renews {
            renew(honest, first);
        }
        while let Some(text) = honest[number].member.poll_output() {
            rooms.receive(now, honest[number].link, &text);
        }
    }
}

/// One of the two wants another session: what was said in this one does not count any more.
fn renew(honest: &mut [Honest; 2], who: usize) {
    honest[who].member.renew();
    for one in honest {
        (one.sent, one.has_peer) = (0, false);
        one.heard.clear();
    }
}

/// Carries messages between the server and the two until there are none.
fn carry(rooms: &mut Rooms, now: Instant, honest: &mut [Honest; 2], strangers: &mut Vec<LinkId>) {
    for round in 0.. {
        assert!(round < 1_000, "they talk for ever");
        for one in honest.iter_mut() {
            while let Some(text) = one.member.poll_output() {
                rooms.receive(now, one.link, &text);
            }
        }
        let mut outputs: BTreeMap<LinkId, Vec<String>> = BTreeMap::new();
        while let Some(output) = rooms.poll_output() {
            match output {
                Output::Text(id, text) => {
                    let is_known =
                        strangers.contains(&id) || honest.iter().any(|one| one.link == id);
                    assert!(is_known || !text.contains("offer"), "a signal for nobody");
                    outputs.entry(id).or_default().push(text);
                }
                Output::Close(id) => {
                    assert!(honest.iter().all(|one| one.link != id), "they keep to the rules");
                    strangers.retain(|known| *known != id);
                }
            }
        }
        let mut quiet = true;
        for one in honest.iter_mut() {
            for text in outputs.remove(&one.link).unwrap_or_default() {
                quiet = false;
                match one.member.receive(&text).expect("the server keeps to the rules") {
                    Some(MemberEvent::Signal(Signal::Offer { sdp })) => one.heard.push(sdp),
                    Some(MemberEvent::Peer(_)) => {
                        assert!(!one.has_peer, "the session began anew");
                        one.has_peer = true;
                    }
                    Some(MemberEvent::Left) => panic!("neither left"),
                    Some(_) | None => {}
                }
            }
        }
        if quiet {
            return;
        }
    }
}

/// A body for a data channel is read or refused; what is passed on of it can be read as ICE or
/// is refused there, and of an offer that was taken the answer can be read by another side.
pub fn bodies(data: &[u8]) {
    let Ok(sdp) = core::str::from_utf8(data) else { return };
    let mut cx = Context::from_waker(Waker::noop());
    let ours = DataChannel::new(Fingerprint::sha256([1; 32]));
    let (inside, mut outside) = memory::pair(4);
    let (mut signaling, _agreements) = DataChannelSignaling::new(inside, ours);
    let mut say = Some(Signal::Offer { sdp: sdp.into() });
    assert!(outside.poll_send(&mut cx, &mut say).is_ready());
    let Poll::Ready(Some(Ok(Signal::Offer { sdp: reduced }))) = signaling.poll_recv(&mut cx) else {
        return;
    };
    let Ok(ice) = Description::parse(&reduced) else { return };
    assert_eq!(ice.streams.len(), 1, "{reduced}");
    let mut answer = Some(Signal::Answer { sdp: ICE.into() });
    assert!(signaling.poll_send(&mut cx, &mut answer).is_ready());
    let Poll::Ready(Some(Ok(Signal::Answer { sdp: answer }))) = outside.poll_recv(&mut cx) else {
        panic!("no answer to {sdp:?}");
    };
    let sections = |body: &str| body.lines().filter(|line| line.starts_with("m=")).count();
    assert!(sections(&answer) >= 1 && Description::parse(&answer).is_ok(), "{answer}");
}

/// What a connection says.
const ICE: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
    m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\n\
    a=ice-ufrag:abcd\r\na=ice-pwd:aaaaaaaaaaaaaaaaaaaaaaaa\r\n";
