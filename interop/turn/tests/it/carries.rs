//! `floe::turn::Client` at coturn: what it gets, and what it carries.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::common::{
    ALLOCATE, CREATE_PERMISSION, DATAGRAM, assert_all_come_back, assert_echoes, config, datagram,
    ours, peers, start,
};
use floe::Transport;
use floe::turn::{Event, Families, PeerError};
use lab::{CLIENTS, Coturn, Network, SERVERS, SERVERS6};
use turn_interop::{Echo, SOON, Session};

/// Every way over one transport: IPv4 and IPv6 to the server, IPv4, IPv6 and both as relays.
fn relays_of_every_family_carry_data(transport: Transport) {
    let network = Network::enter();
    let _coturn = Coturn::start(&network, &[]);
    let [peer, peer6] = peers();
    let (relay, relay6): (IpAddr, IpAddr) = (SERVERS[0].into(), SERVERS6[0].into());
    for server in [Coturn::PLAIN, Coturn::PLAIN6] {
        for (families, relays, peers) in [
            (Families::Ipv4, vec![relay], vec![&peer]),
            (Families::Ipv6, vec![relay6], vec![&peer6]),
            (Families::Both, vec![relay, relay6], vec![&peer, &peer6]),
        ] {
            let mut config = Session::config(transport);
            config.families = families;
            let mut session = Session::start(config, ours(server), server).allocated();
            let relayed: Vec<IpAddr> =
                session.client.relayed().map(|address| address.ip()).collect();
            assert_eq!(relayed, relays, "{families:?} at {server}");
            assert_eq!(session.client.mapped(), Some(session.local_addr()));
            assert_echoes(&mut session, &peers);
            assert_eq!(session.dropped, []);
        }
    }
}

#[test]
fn relays_of_every_family_carry_data_over_udp() {
    relays_of_every_family_carry_data(Transport::Udp);
}

#[test]
fn relays_of_every_family_carry_data_over_tcp() {
    relays_of_every_family_carry_data(Transport::Tcp);
}

/// The nonces of coturn are for one 5-tuple: that of another costs what none would.
#[test]
fn an_allocation_takes_two_requests_even_with_the_nonce_of_another_5_tuple() {
    let network = Network::enter();
    let _coturn = Coturn::start(&network, &[]);
    let first = start(config()).allocated();
    assert_eq!(first.asked(ALLOCATE), 2);
    let mut config = config();
    config.credentials = first.client.credentials().clone();
    let second = start(config).allocated();
    assert_eq!(second.asked(ALLOCATE), 2);
}

#[test]
fn two_thousand_datagrams_come_back_through_a_channel_over_udp() {
    let network = Network::enter();
    let _coturn = Coturn::start(&network, &[]);
    let peer = Echo::start(CLIENTS[1]);
    let mut session = start(config()).allocated();
    session.permit(peer.address());
    session.bind_channel(peer.address());
    assert_all_come_back(&mut session, peer.address(), 2000);
    assert_eq!(peer.heard(), 2000);
}

#[test]
fn two_thousand_datagrams_come_back_through_a_channel_over_tcp() {
    let network = Network::enter();
    let _coturn = Coturn::start(&network, &[]);
    let peer = Echo::start(CLIENTS[1]);
    let tcp = Session::config(Transport::Tcp);
    let mut session = Session::start(tcp, CLIENTS[0], Coturn::PLAIN).allocated();
    session.permit(peer.address());
    session.bind_channel(peer.address());
    assert_all_come_back(&mut session, peer.address(), 2000);
}

#[test]
fn two_thousand_datagrams_come_back_in_indications() {
    let network = Network::enter();
    let _coturn = Coturn::start(&network, &[]);
    let peer = Echo::start(CLIENTS[1]);
    let mut session = start(config()).allocated();
    session.permit(peer.address());
    assert_all_come_back(&mut session, peer.address(), 2000);
}

#[test]
fn two_relays_carry_two_thousand_datagrams_each_way_over_both_families() {
    let network = Network::enter();
    let _coturn = Coturn::start(&network, &[]);
    for family in [Coturn::PLAIN, Coturn::PLAIN6] {
        let [mut left, mut right] = [0; 2].map(|_| start(config()).allocated());
        let (to_left, to_right) = (left.relayed(family), right.relayed(family));
        left.permit(to_right);
        right.permit(to_left);
        left.bind_channel(to_right);
        for number in 0..2000 {
            let data = datagram(number, DATAGRAM);
            assert!(left.send(to_right, &data));
            assert!(right.drive(SOON, |session| !session.received.is_empty()), "{number} is lost");
            assert_eq!(right.received.pop_front(), Some((to_left, data.clone())));
            assert!(right.send(to_left, &data));
            assert!(left.drive(SOON, |session| !session.received.is_empty()), "{number} is lost");
            assert_eq!(left.received.pop_front(), Some((to_right, data)));
        }
    }
}

/// The request and the data leave together: no round trip is waited for.
#[test]
fn data_right_behind_the_request_for_a_permission_arrives() {
    let network = Network::enter();
    let _coturn = Coturn::start(&network, &[]);
    let peer = Echo::start(CLIENTS[1]);
    let mut session = start(config()).allocated();
    session.permit(peer.address());
    assert!(session.send(peer.address(), b"right behind"));
    assert!(session.drive(SOON, |session| !session.received.is_empty()));
    assert_eq!(session.received[0], (peer.address(), b"right behind".to_vec()));
}

/// One request for all of them; the server refuses it for one address.
#[test]
fn one_forbidden_peer_does_not_take_the_others_with_it() {
    let network = Network::enter();
    let forbidden = SERVERS[1];
    let _coturn = Coturn::start(&network, &[&format!("denied-peer-ip={forbidden}")]);
    let peer = Echo::start(CLIENTS[1]);
    let mut session = start(config()).allocated();
    let now = session.now();
    let all = [CLIENTS[0], forbidden, CLIENTS[1]];
    all.iter().for_each(|ip| session.client.permit(now, (*ip).into()).expect("room"));
    let refused = session.wait_for(SOON, |event| matches!(event, Event::PeerFailed { .. }));
    let error = PeerError::Refused(403);
    assert_eq!(refused, Some(Event::PeerFailed { peer: (forbidden, 0).into(), error }));
    let echo = session.ask(peer.address(), b"still here");
    assert_eq!(echo, Some((peer.address(), b"still here".to_vec())));
    assert!(session.asked(CREATE_PERMISSION) <= 5, "{:?}", session.sent);
}

/// 443 is never provoked. [RFC 8656 §9.2]
#[test]
fn a_peer_of_another_family_is_refused_without_asking() {
    let network = Network::enter();
    let _coturn = Coturn::start(&network, &[]);
    let mut config = config();
    config.families = Families::Ipv4;
    let mut session = start(config).allocated();
    let now = session.now();
    let family = session.client.permit(now, SERVERS6[1].into());
    assert_eq!(family, Err(PeerError::Family));
    session.work();
    assert_eq!(session.asked(CREATE_PERMISSION), 0);
}

#[test]
fn a_closed_allocation_is_given_back() {
    let network = Network::enter();
    let _coturn = Coturn::start(&network, &["user-quota=1"]);
    let mut first = start(config()).allocated();
    let now = first.now();
    first.client.close(now);
    let closed = first.wait_for(SOON, |event| *event == Event::Closed);
    assert_eq!(closed, Some(Event::Closed));
    // coturn says so at once, and counts it a little longer.
    let deadline = Instant::now() + Duration::from_secs(20);
    while start(config()).wait_for(SOON, |_| true) != Some(Event::Allocated) {
        assert!(Instant::now() < deadline, "the quota stays used up");
    }
}

#[test]
fn a_server_is_asked_not_to_fragment() {
    let network = Network::enter();
    let _coturn = Coturn::start(&network, &[]);
    let peer = Echo::start(CLIENTS[1]);
    let mut config = config();
    config.dont_fragment = true;
    let mut session = start(config).allocated();
    assert_echoes(&mut session, &[&peer]);
}

/// The cable is out for longer than the first retransmissions take.
#[test]
fn an_allocation_comes_about_once_the_network_is_back() {
    let network = Network::enter();
    let _coturn = Coturn::start(&network, &[]);
    network.set_link(false);
    let mut session = start(config());
    session.drive_for(Duration::from_millis(1800));
    network.set_link(true);
    let session = session.allocated();
    assert!(session.count(ALLOCATE) >= 3);
}
