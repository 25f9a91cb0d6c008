//! `floe::turn::Client` at servers of other crates, in this process.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::common::{
    ALLOCATE, assert_all_come_back, assert_echoes, config, impatient, ours, peers, start,
};
use floe::stun::GiveUp;
use floe::turn::{Error, Event, Families};
use lab::{CLIENTS, Coturn, Network, SERVERS, SERVERS6, USER};
use turn_interop::servers::{Proto, Webrtc};
use turn_interop::{Echo, SOON, Session, credentials};

const NONCE: Duration = Duration::from_secs(600);

fn both() -> Vec<IpAddr> {
    vec![SERVERS[0].into(), SERVERS6[0].into()]
}

fn proto(network: &Network, listen: SocketAddr, speed: u32, nonce: Duration) -> Proto {
    network.server.run(move || Proto::start(listen, &both(), speed, nonce))
}

fn webrtc(network: &Network, listen: SocketAddr) -> Webrtc {
    network.server.run(move || Webrtc::start(listen, listen.ip()))
}

/// With MESSAGE-INTEGRITY-SHA256 and USERHASH: this server offers both.
#[test]
fn turn_server_proto_relays_every_family_over_every_family() {
    let network = Network::enter();
    let [peer, peer6] = peers();
    for server in [Coturn::PLAIN, Coturn::PLAIN6] {
        let _server = proto(&network, server, 1, NONCE);
        for (families, peers) in [
            (Families::Ipv4, vec![&peer]),
            (Families::Ipv6, vec![&peer6]),
            (Families::Both, vec![&peer, &peer6]),
        ] {
            let mut config = config();
            config.families = families;
            let mut session = Session::start(config, ours(server), server).allocated();
            assert_eq!(session.client.relayed().count(), peers.len(), "{families:?}");
            assert_eq!(session.client.mapped(), Some(session.local_addr()));
            assert_echoes(&mut session, &peers);
        }
    }
}

#[test]
fn turn_server_proto_loses_none_of_two_thousand_datagrams() {
    let network = Network::enter();
    let _server = proto(&network, Coturn::PLAIN, 1, NONCE);
    let peer = Echo::start(CLIENTS[1]);
    let mut session = start(config()).allocated();
    session.permit(peer.address());
    session.bind_channel(peer.address());
    assert_all_come_back(&mut session, peer.address(), 2000);
}

/// Both clocks run 50 times as fast as the world's: 20 minutes pass.
#[test]
fn turn_server_proto_keeps_allocation_permission_and_channel_for_twenty_minutes() {
    const SPEED: u32 = 50;
    let network = Network::enter();
    let _server = proto(&network, Coturn::PLAIN, SPEED, Duration::from_secs(3600));
    let [peer, peer6] = peers();
    let mut config = config();
    // A tenth of a second for us: this machine is not as fast as its clocks.
    config.retransmission.rto = Duration::from_secs(5);
    let mut session =
        Session::start_in_fast_motion(config, CLIENTS[0], Coturn::PLAIN, SPEED).allocated();
    session.permit(peer6.address());
    session.permit(peer.address());
    session.bind_channel(peer.address());
    for minute in 0..20_u8 {
        session.drive_for(Duration::from_secs(60) / SPEED);
        for peer in [&peer, &peer6] {
            let echo = session.ask(peer.address(), &[minute]);
            assert_eq!(echo, Some((peer.address(), vec![minute])), "{:?}", session.events);
        }
    }
    assert_eq!(session.events, []);
    assert_eq!(session.asked(ALLOCATE), 2);
}

/// Its 438 lists no algorithms though its nonce says that there are some: somebody may have taken
/// them out, and it is not answered. [rfc8489-9.2.5-2]
#[test]
fn turn_server_proto_loses_us_with_its_first_stale_nonce() {
    const SPEED: u32 = 50;
    let network = Network::enter();
    let _server = proto(&network, Coturn::PLAIN, SPEED, Duration::from_secs(120));
    let mut config = config();
    config.retransmission.rto = Duration::from_secs(5);
    let mut session =
        Session::start_in_fast_motion(config, CLIENTS[0], Coturn::PLAIN, SPEED).allocated();
    assert_eq!(session.refused(4 * SOON), Error::Credentials(GiveUp::BidDown));
}

#[test]
fn turn_server_proto_refuses_a_wrong_password_once() {
    let network = Network::enter();
    let _server = proto(&network, Coturn::PLAIN, 1, NONCE);
    let mut config = config();
    config.credentials = credentials(USER, "not-the-password");
    let mut session = start(config);
    assert_eq!(session.refused(SOON), Error::Credentials(GiveUp::Credentials));
    assert_eq!(session.asked(ALLOCATE), 2);
}

#[test]
fn turn_server_proto_takes_an_allocation_back() {
    let network = Network::enter();
    let _server = proto(&network, Coturn::PLAIN, 1, NONCE);
    let mut session = start(config()).allocated();
    let now = session.now();
    session.client.close(now);
    assert_eq!(session.wait_for(SOON, |_| true), Some(Event::Closed));
}

/// It gives one family, whatever it is asked for.
#[test]
fn turn_of_webrtc_rs_relays_over_every_family() {
    let network = Network::enter();
    let [peer, peer6] = peers();
    for (server, families, peer) in
        [(Coturn::PLAIN, Families::Ipv4, &peer), (Coturn::PLAIN6, Families::Ipv6, &peer6)]
    {
        let _server = webrtc(&network, server);
        let mut config = config();
        config.families = families;
        let mut session = Session::start(config, ours(server), server).allocated();
        assert_echoes(&mut session, &[peer]);
    }
}

#[test]
fn turn_of_webrtc_rs_relays_for_who_asks_for_both_families() {
    let network = Network::enter();
    let _server = webrtc(&network, Coturn::PLAIN);
    let peer = Echo::start(CLIENTS[1]);
    let mut session = start(config()).allocated();
    assert_echoes(&mut session, &[&peer]);
}

#[test]
fn turn_of_webrtc_rs_loses_none_of_two_thousand_datagrams() {
    let network = Network::enter();
    let _server = webrtc(&network, Coturn::PLAIN);
    let peer = Echo::start(CLIENTS[1]);
    let mut session = start(config()).allocated();
    session.permit(peer.address());
    session.bind_channel(peer.address());
    assert_all_come_back(&mut session, peer.address(), 2000);
}

/// It answers with an error that is not signed, so that nobody can be sure: the request is repeated
/// to the end. [rfc8489-9.2.5-14]
#[test]
fn turn_of_webrtc_rs_leaves_who_is_refused_without_an_answer_to_trust() {
    let network = Network::enter();
    let _server = webrtc(&network, Coturn::PLAIN);
    for (user, password) in [(USER, "not-the-password"), ("nobody", lab::PASSWORD)] {
        let mut config = impatient(config());
        config.credentials = credentials(user, password);
        let mut session = start(config);
        let error = session.refused(SOON);
        assert!(matches!(error, Error::Timeout | Error::Integrity), "{error:?}");
        assert!(session.count(ALLOCATE) <= 1 + 3);
    }
}
