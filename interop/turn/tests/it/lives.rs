//! `floe::turn::Client` at coturn for a long time: lifetimes that end, nonces that go stale, a
//! server that forgets.

use std::time::{Duration, Instant};

use crate::common::{ALLOCATE, CHANNEL_BIND, CREATE_PERMISSION, REFRESH, config, peers, start};
use floe::turn::Event;
use lab::{CLIENTS, Coturn, Network};
use turn_interop::{Echo, SOON, Session};

/// The lifetimes of permissions and channels are fixed by RFC 8656, 300 s and 600 s: the server has
/// a fifteenth of them, and the clock of the client runs as many times as fast.
const SPEED: u32 = 15;
const SHORT: [&str; 4] =
    ["permission-lifetime=20", "channel-lifetime=40", "max-allocate-lifetime=60", "stale-nonce=7"];

/// Asks both peers, twice a second, for so long. Returns how often.
fn keep_asking(session: &mut Session, peers: &[Echo; 2], time: Duration) -> usize {
    let start = Instant::now();
    let mut asked = 0;
    while start.elapsed() < time {
        for peer in peers {
            let data = format!("after {:?}", start.elapsed());
            let echo = session.ask(peer.address(), data.as_bytes());
            assert_eq!(echo, Some((peer.address(), data.clone().into())), "{data}");
            asked += 1;
        }
        session.drive_for(Duration::from_millis(500));
    }
    asked
}

#[test]
fn permissions_and_channels_outlive_three_of_their_lifetimes() {
    let network = Network::enter();
    let _coturn = Coturn::start(&network, &SHORT);
    let [peer, peer6] = peers();
    let mut session =
        Session::start_in_fast_motion(config(), CLIENTS[0], Coturn::PLAIN, SPEED).allocated();
    // One over a channel, the other by its permission alone.
    session.permit(peer6.address());
    session.permit(peer.address());
    session.bind_channel(peer.address());
    let asked = keep_asking(&mut session, &[peer, peer6], Duration::from_secs(66));
    assert!(asked > 200);
    assert_eq!(session.events, []);
    assert_eq!(session.dropped, []);
    // Kept alive, but not by asking all the time: with a stale nonce now and then.
    for (kind, least, most) in [(CREATE_PERMISSION, 4, 24), (CHANNEL_BIND, 2, 16)] {
        let count = session.asked(kind);
        assert!((least..=most).contains(&count), "{kind:#06x}: {count} requests");
    }
    assert_eq!(session.asked(ALLOCATE), 2);
}

/// In real time, with the shortest lifetime that floe takes seriously.
#[test]
fn an_allocation_outlives_its_lifetime_and_nine_nonces() {
    let network = Network::enter();
    let _coturn = Coturn::start(&network, &["max-allocate-lifetime=60", "stale-nonce=7"]);
    let peers = peers();
    let mut session = start(config()).allocated();
    let port = session.relayed(Coturn::PLAIN);
    peers.iter().for_each(|peer| session.permit(peer.address()));
    keep_asking(&mut session, &peers, Duration::from_secs(68));
    assert_eq!(session.events, []);
    assert_eq!(session.relayed(Coturn::PLAIN), port);
    assert!((1..=6).contains(&session.asked(REFRESH)), "{:?}", session.sent);
}

/// A client that was asleep finds its allocation gone, and gets another one.
#[test]
fn an_allocation_that_expired_unnoticed_is_replaced() {
    let network = Network::enter();
    let _coturn = Coturn::start(&network, &["max-allocate-lifetime=2"]);
    let peer = Echo::start(CLIENTS[1]);
    let mut session = start(config()).allocated();
    session.permit(peer.address());
    session.bind_channel(peer.address());
    assert!(session.ask(peer.address(), b"before").is_some());

    let expiry = Instant::now() + Duration::from_secs(6);
    while Instant::now() < expiry {
        std::thread::sleep(Duration::from_millis(100));
    }
    // Something new to ask for, so that the server is heard.
    session.permit((CLIENTS[0], 9).into());
    assert_eq!(session.wait_for(SOON, |_| true), Some(Event::Lost));
    assert_eq!(session.wait_for(SOON, |_| true), Some(Event::Allocated));
    let echo = session.ask(peer.address(), b"after");
    assert_eq!(echo, Some((peer.address(), b"after".to_vec())));
}

/// Killed without a word, and started anew with other nonces: 438, then 437, then a relay.
#[test]
fn a_relay_is_back_within_two_seconds_of_the_first_answer_of_a_restarted_server() {
    let network = Network::enter();
    let mut coturn = Coturn::start(&network, &[]);
    let peer = Echo::start(CLIENTS[1]);
    // A fast clock brings the next refresh about soon.
    let mut session =
        Session::start_in_fast_motion(config(), CLIENTS[0], Coturn::PLAIN, 20).allocated();
    session.permit(peer.address());
    session.bind_channel(peer.address());
    assert!(session.ask(peer.address(), b"before").is_some());

    coturn.stop();
    session.drive_for(Duration::from_secs(1));
    coturn.restart(&network);
    let restarted = Instant::now();
    session.sent.clear();

    let heard = session.drive(Duration::from_secs(40), |session| {
        session.heard.is_some_and(|heard| heard > restarted)
    });
    assert!(heard, "the server was asked nothing; sent: {:?}", session.sent);
    let first_answer = Instant::now();
    let back = session.wait_for(SOON, |event| *event == Event::Allocated);
    assert_eq!(back, Some(Event::Allocated));
    assert!(first_answer.elapsed() < Duration::from_secs(2), "{:?}", first_answer.elapsed());
    assert!(session.asked(ALLOCATE) <= 3, "{:?}", session.sent);

    // Permission and channel are back by themselves.
    let echo = session.ask(peer.address(), b"after");
    assert_eq!(echo, Some((peer.address(), b"after".to_vec())));
    session.bind_channel(peer.address());
}
