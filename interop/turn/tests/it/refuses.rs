//! `floe::turn::Client` at a coturn that will not have it: each refusal has a type, and none leads
//! to a storm.

use crate::common::{ALLOCATE, REFRESH, config, impatient, start};
use floe::stun::GiveUp;
use floe::turn::{Error, Event, RelayProtocol};
use floe::{DropReason, Transport};
use lab::{CLIENTS, Coturn, Network, SERVERS, USER};
use turn_interop::{SOON, Session, credentials};

#[test]
fn a_wrong_password_is_tried_once() {
    let network = Network::enter();
    let _coturn = Coturn::start(&network, &[]);
    let mut config = config();
    config.credentials = credentials(USER, "not-the-password");
    let mut session = start(config);
    assert_eq!(session.refused(SOON), Error::Credentials(GiveUp::Credentials));
    assert_eq!(session.asked(ALLOCATE), 2);
}

#[test]
fn an_unknown_user_is_tried_once() {
    let network = Network::enter();
    let _coturn = Coturn::start(&network, &[]);
    let mut config = config();
    config.credentials = credentials("nobody", lab::PASSWORD);
    let mut session = start(config);
    assert_eq!(session.refused(SOON), Error::Credentials(GiveUp::Credentials));
    assert_eq!(session.asked(ALLOCATE), 2);
}

#[test]
fn a_quota_that_is_reached_says_so() {
    let network = Network::enter();
    let _coturn = Coturn::start(&network, &["user-quota=1"]);
    let _first = start(config()).allocated();
    let mut second = start(config());
    assert_eq!(second.refused(SOON), Error::Quota);
    assert_eq!(second.asked(ALLOCATE), 2);
}

#[test]
fn a_server_that_relays_no_udp_says_so() {
    let network = Network::enter();
    let _coturn = Coturn::start(&network, &["no-udp-relay"]);
    let mut session = start(config());
    assert!(matches!(session.refused(SOON), Error::Protocol | Error::Forbidden));
}

#[test]
fn a_server_that_relays_no_tcp_says_so() {
    let network = Network::enter();
    let _coturn = Coturn::start(&network, &["no-tcp-relay"]);
    let mut config = Session::config(Transport::Tcp);
    config.relay = RelayProtocol::Tcp;
    let mut session = Session::start(config, CLIENTS[0], Coturn::PLAIN);
    assert!(matches!(session.refused(SOON), Error::Protocol | Error::Forbidden));
}

#[test]
fn a_server_without_ports_left_says_so() {
    let network = Network::enter();
    let _coturn = Coturn::start(&network, &["min-port=50000", "max-port=50001"]);
    let mut sessions = Vec::new();
    let error = loop {
        let mut session = start(config());
        match session.wait_for(SOON, |_| true) {
            Some(Event::Allocated) => sessions.push(session),
            Some(Event::Failed(error)) => break error,
            other => panic!("{other:?}"),
        }
        assert!(sessions.len() <= 2, "two ports were given to {}", sessions.len());
    };
    assert_eq!(error, Error::Capacity);
}

/// coturn redirects before it knows who asks, and so cannot sign that; anybody on the way could
/// have written it. [rfc8489-14.8-7b]
#[test]
fn an_unsigned_redirection_is_not_followed() {
    let network = Network::enter();
    let _coturn = Coturn::start(&network, &[&format!("alternate-server={}:3478", SERVERS[1])]);
    let mut session = start(impatient(config()));
    assert_eq!(session.refused(SOON), Error::Integrity);
    assert!(session.dropped.iter().all(|&reason| reason == DropReason::Unauthenticated));
}

#[test]
fn no_server_is_a_timeout() {
    let _network = Network::enter();
    let mut session = start(impatient(config()));
    assert_eq!(session.refused(SOON), Error::Timeout);
    assert_eq!(session.count(ALLOCATE), 3);
}

/// The old password is good for nothing at a server that has learnt the new one: the refresh says
/// so, and the new one gets a relay.
#[test]
fn rotated_credentials_end_the_old_client_and_serve_the_new_one() {
    let network = Network::enter();
    let user = |password: &str| format!("user={USER}:{password}");
    let mut coturn = Coturn::start_for(&network, &[&user("the-old-one")]);
    let mut old = config();
    old.credentials = credentials(USER, "the-old-one");
    // A fast clock brings the next refresh about soon.
    let mut old = Session::start_in_fast_motion(old, CLIENTS[0], Coturn::PLAIN, 100).allocated();

    coturn.replace_option(&user("the-old-one"), &user("the-new-one"));
    coturn.restart(&network);
    assert_eq!(old.refused(2 * SOON), Error::Credentials(GiveUp::Credentials));
    assert!(old.asked(REFRESH) + old.asked(ALLOCATE) <= 2 + 4, "{:?}", old.sent);

    let mut new = config();
    new.credentials = credentials(USER, "the-new-one");
    start(new).allocated();
}
