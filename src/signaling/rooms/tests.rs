//! A server and two members, over connections that come and go.

use core::time::Duration;

use super::*;
use crate::signaling::CandidateInit;
use crate::time::Instant;

fn after(seconds: u64) -> Instant {
    Instant::from_millis(1_000 * seconds)
}

fn signal(number: usize) -> Signal {
    Signal::Candidate(CandidateInit {
        candidate: format!("candidate:{number}"),
        ..Default::default()
    })
}

/// Members by number, each with the connection it has, and what it learned.
struct World {
    now: Instant,
    rooms: Rooms,
    members: Vec<(Member, Option<LinkId>, Vec<MemberEvent>)>,
}

impl World {
    fn new() -> Self {
        let rooms = Rooms::new([1; 32], Limits::default());
        Self { now: Instant::ZERO, rooms, members: Vec::new() }
    }

    fn member(&mut self) -> usize {
        let number = self.members.len();
        self.members.push((Member::new([number as u8; 16]), None, Vec::new()));
        number
    }

    /// Gives a member a connection to the room.
    fn connect(&mut self, number: usize) {
        let link = self.rooms.connect(self.now, "room").unwrap();
        self.members[number].1 = Some(link);
        self.members[number].0.connected();
        self.settle();
    }

    /// A connection breaks; what was on its way to the member is lost.
    fn cut(&mut self, number: usize) {
        let link = self.members[number].1.take().unwrap();
        self.rooms.disconnect(self.now, link);
        self.settle();
    }

    /// The server is started anew: nobody has a connection.
    fn restart(&mut self) {
        self.rooms = Rooms::new([2; 32], Limits::default());
        for (_, link, events) in &mut self.members {
            *link = None;
            events.clear();
        }
    }

    fn wait(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        while let Some(at) = self.rooms.poll_timeout().filter(|at| *at <= until) {
            self.now = at;
            self.rooms.handle_timeout(at);
            self.settle();
        }
        self.now = until;
    }

    fn say(&mut self, from: usize, number: usize) {
        self.members[from].0.send(&signal(number)).unwrap();
        self.settle();
    }

    /// Carries everything to its end.
    fn settle(&mut self) {
        loop {
            let mut idle = true;
            for (member, link, _) in &mut self.members {
                let Some(id) = *link else { continue };
                while let Some(text) = member.poll_output() {
                    self.rooms.receive(self.now, id, &text);
                    idle = false;
                }
            }
            while let Some(output) = self.rooms.poll_output() {
                idle = false;
                match output {
                    Output::Text(id, text) => {
                        let to = self.members.iter_mut().find(|(_, link, _)| *link == Some(id));
                        if let Some((member, _, events)) = to {
                            events.extend(member.receive(&text).unwrap());
                        }
                    }
                    Output::Close(id) => {
                        let of = self.members.iter_mut().find(|(_, link, _)| *link == Some(id));
                        if let Some((_, link, _)) = of {
                            *link = None;
                        }
                    }
                }
            }
            if idle {
                return;
            }
        }
    }

    fn events(&mut self, number: usize) -> Vec<MemberEvent> {
        core::mem::take(&mut self.members[number].2)
    }

    /// Two members in a session.
    fn met() -> Self {
        let mut world = Self::new();
        for number in [0, 1] {
            assert_eq!(world.member(), number);
            world.connect(number);
        }
        assert_eq!(world.events(0), [MemberEvent::Joined, MemberEvent::Peer(Side::Answerer)]);
        assert_eq!(world.events(1), [MemberEvent::Joined, MemberEvent::Peer(Side::Offerer)]);
        world
    }
}

#[test]
fn who_comes_second_offers_and_what_one_says_the_other_hears() {
    let mut world = World::met();
    for number in 0..3 {
        world.say(1, number);
    }
    world.say(0, 9);
    assert_eq!(world.events(0), [0, 1, 2].map(|number| MemberEvent::Signal(signal(number))));
    assert_eq!(world.events(1), [MemberEvent::Signal(signal(9))]);
}

#[test]
fn a_connection_that_comes_back_within_thirty_seconds_loses_nothing() {
    let mut world = World::met();
    world.say(0, 0);
    world.cut(1);
    world.say(0, 1);
    world.cut(0);
    world.say(0, 2);
    world.say(1, 7);
    world.wait(29);
    world.connect(0);
    world.connect(1);
    world.say(0, 3);
    let heard = |events: Vec<MemberEvent>| -> Vec<_> {
        let signals = events.into_iter().filter(|event| matches!(event, MemberEvent::Signal(_)));
        signals.collect()
    };
    assert_eq!(heard(world.events(1)), [0, 1, 2, 3].map(|n| MemberEvent::Signal(signal(n))));
    assert_eq!(heard(world.events(0)), [MemberEvent::Signal(signal(7))]);
}

#[test]
fn a_signal_that_was_lost_with_its_connection_is_said_again() {
    let mut world = World::met();
    // The server sends it, and it never arrives.
    let link = world.members[1].1;
    world.members[1].1 = None;
    world.say(0, 0);
    world.rooms.disconnect(world.now, link.unwrap());
    world.settle();
    world.connect(1);
    assert_eq!(world.events(1), [MemberEvent::Back, MemberEvent::Signal(signal(0))]);
}

#[test]
fn after_thirty_seconds_the_place_is_free_for_another() {
    let mut world = World::met();
    world.cut(1);
    assert_eq!(world.events(0), [MemberEvent::Away]);
    let third = world.member();
    world.connect(third);
    let full = Refusal::Full.to_string();
    assert_eq!(world.events(third), [MemberEvent::Refused { is_final: true, sentence: full }]);
    world.wait(31);
    assert_eq!(world.events(0), [MemberEvent::Left]);
    world.connect(third);
    assert_eq!(world.events(0), [MemberEvent::Peer(Side::Answerer)]);
    assert_eq!(world.events(third), [MemberEvent::Joined, MemberEvent::Peer(Side::Offerer)]);
}

#[test]
fn a_session_outlives_the_server() {
    let mut world = World::met();
    world.say(0, 0);
    world.say(1, 5);
    world.restart();
    world.say(0, 1);
    world.connect(1);
    world.connect(0);
    world.say(1, 6);
    assert_eq!(world.events(0), [MemberEvent::Back, MemberEvent::Signal(signal(6))]);
    assert_eq!(world.events(1), [MemberEvent::Back, MemberEvent::Signal(signal(1))]);
}

/// Whoever's connection to the other has ended gets another, though both stay.
#[test]
fn a_session_that_is_given_up_is_followed_by_another() {
    let mut world = World::met();
    world.say(1, 5);
    world.events(0);
    world.members[0].0.renew();
    // What the other says meanwhile is of the session before.
    world.members[1].0.send(&signal(6)).unwrap();
    world.settle();
    assert_eq!(world.events(0), [MemberEvent::Peer(Side::Offerer)]);
    assert_eq!(world.events(1), [MemberEvent::Peer(Side::Answerer)]);
    world.say(0, 7);
    world.say(1, 8);
    assert_eq!(world.events(0), [MemberEvent::Signal(signal(8))]);
    assert_eq!(world.events(1), [MemberEvent::Signal(signal(7))]);
    // Both at once, and one without a connection, which had asked to go on.
    world.members[0].0.renew();
    world.members[1].0.renew();
    world.settle();
    for number in [0, 1] {
        assert!(matches!(world.events(number).last(), Some(MemberEvent::Peer(_))));
    }
    world.cut(0);
    world.members[0].0.connected();
    world.members[0].0.renew();
    world.say(1, 9);
    world.events(1);
    world.connect(0);
    assert_eq!(world.events(0), [MemberEvent::Joined, MemberEvent::Peer(Side::Offerer)]);
    assert_eq!(world.events(1), [MemberEvent::Peer(Side::Answerer)]);
}

/// What the server was asked before counts no more for one who has asked for a new session.
#[test]
fn a_session_that_was_given_up_does_not_come_back() {
    let mut world = World::met();
    world.cut(0);
    let link = world.rooms.connect(world.now, "room").unwrap();
    world.members[0].0.connected();
    world.rooms.receive(world.now, link, &world.members[0].0.poll_output().unwrap());
    world.members[0].0.renew();
    world.members[0].1 = Some(link);
    world.events(0);
    world.settle();
    assert_eq!(world.events(0), [MemberEvent::Joined, MemberEvent::Peer(Side::Offerer)]);
}

/// One of the two gives it up before the other is back.
#[test]
fn a_session_that_was_given_up_does_not_outlive_the_server() {
    let mut world = World::met();
    world.restart();
    world.connect(0);
    world.members[0].0.renew();
    world.settle();
    world.events(0);
    world.connect(1);
    assert_eq!(world.events(0), [MemberEvent::Peer(Side::Answerer)]);
    assert_eq!(world.events(1), [MemberEvent::Peer(Side::Offerer)]);
}

#[test]
fn who_was_away_hears_that_the_other_has_left() {
    let mut world = World::met();
    world.cut(0);
    world.members[1].0.leave();
    world.settle();
    world.connect(0);
    assert_eq!(world.events(0).last(), Some(&MemberEvent::Left));
    world.members[1].0 = Member::new([9; 16]);
    world.connect(1);
    assert_eq!(world.events(0), [MemberEvent::Peer(Side::Answerer)]);
}

/// A page that was loaded anew knows its secret, and nothing of the session.
#[test]
fn one_that_has_forgotten_the_session_begins_a_new_one() {
    let mut world = World::met();
    world.cut(0);
    world.members[0].0 = Member::new([0; 16]);
    world.events(1);
    world.connect(0);
    assert_eq!(world.events(0), [MemberEvent::Joined, MemberEvent::Peer(Side::Offerer)]);
    assert_eq!(world.events(1), [MemberEvent::Peer(Side::Answerer)]);
}

#[test]
fn of_two_connections_with_one_secret_the_newer_stays() {
    let mut world = World::met();
    let twin = world.member();
    world.members[twin].0 = Member::new([0; 16]);
    world.connect(twin);
    let replaced = MemberEvent::Refused { is_final: true, sentence: Refusal::Replaced.to_string() };
    assert!(world.events(0).contains(&replaced));
    assert_eq!(world.members[0].1, None);
    assert_eq!(world.events(twin), [MemberEvent::Joined, MemberEvent::Peer(Side::Offerer)]);
}

#[test]
fn what_is_wrong_is_told_to_its_author_alone() {
    let mut world = World::met();
    let link = world.members[0].1.unwrap();
    for text in ["", "[]", "{\"type\":\"nonsense\"}", &"x".repeat(70_000)] {
        world.rooms.receive(world.now, link, text);
    }
    world.settle();
    let events = world.events(0);
    assert_eq!(events.len(), 4);
    assert!(events.iter().all(|e| matches!(e, MemberEvent::Refused { is_final: false, .. })));
    assert_eq!(world.events(1), []);
}

#[test]
fn who_floods_a_room_is_slowed_down() {
    let mut world = World::met();
    for number in 0..300 {
        world.say(0, number);
    }
    let refused = world.events(0).len();
    let heard = world.events(1).len();
    assert_eq!((heard, refused), (200, 100));
    world.now += Duration::from_secs(2);
    world.say(0, 300);
    assert_eq!(world.events(1).len(), 1);
}

#[test]
fn who_does_not_join_is_sent_away() {
    let mut world = World::new();
    let link = world.rooms.connect(world.now, "room").unwrap();
    world.rooms.receive(world.now, link, &signal(0).to_json());
    assert_eq!(world.rooms.count(), (0, 0));
    let _ = world.rooms.connect(world.now, "room").unwrap();
    world.wait(11);
    assert_eq!(world.rooms.count(), (0, 0));
    assert_eq!(world.rooms.poll_timeout(), None);
    for name in ["", "a b", "a/b", &"x".repeat(65)] {
        assert_eq!(world.rooms.connect(after(20), name), Err(Refusal::Name));
    }
}

#[test]
fn rooms_and_connections_are_bounded_and_forgotten() {
    let limits = Limits { rooms: 2, links: 3, ..Limits::default() };
    let mut rooms = Rooms::new([1; 32], limits);
    let mut links = Vec::new();
    for name in ["a", "b", "c"] {
        let link = rooms.connect(Instant::ZERO, name).unwrap();
        rooms.receive(Instant::ZERO, link, &message::FromMember::join("FAKE-SECRET-FAKE", None));
        links.push(link);
    }
    assert_eq!(rooms.count(), (2, 2));
    let link = rooms.connect(Instant::ZERO, "a").unwrap();
    assert_eq!(rooms.connect(Instant::ZERO, "a"), Err(Refusal::Busy));
    for link in links.into_iter().chain([link]) {
        rooms.disconnect(after(1), link);
    }
    rooms.handle_timeout(after(40));
    assert_eq!(rooms.count(), (0, 0));
}
