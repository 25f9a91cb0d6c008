//! `turns:` servers and their certificates. [RFC 8489 §6.2.3]

use floe::event::GatherFailure;
use floe::{ConnectFailure, Transport};
use rcgen::CertificateParams;

use super::front::{Authority, Front, Wire, authority, certificate_for};
use super::turn_server::TurnServer;
use super::{connect, gather, say, server, through};

/// What a client that trusts `roots` comes to at a server with a certificate, and the server.
async fn refused(
    roots: &Authority,
    issuer: &Authority,
    params: CertificateParams,
) -> (Vec<(Transport, GatherFailure)>, Front, TurnServer) {
    let server = server().await;
    let front = Front::start(server.address(), Wire::tls(issuer, &params)).await;
    let url = format!("turns:localhost:{}", front.address.port());
    let node = through(&server, &url).tls_roots(roots.der()).unwrap().ipv4_only().bind().await;
    let (relays, failures) = gather(&node.unwrap()).await;
    assert_eq!(relays, []);
    (failures, front, server)
}

fn certificate_is_named(failures: &[(Transport, GatherFailure)]) -> bool {
    let failure = GatherFailure::Connect(ConnectFailure::Certificate);
    failures.contains(&(Transport::Tls, failure))
}

/// [rfc8489-6.2.3-1] [rfc8489-6.2.3-3] [rfc8489-6.2.3-4] [rfc8489-6.2.3-5] [rfc8489-6.2.3-6]
/// [rfc8489-6.2.3-7] [rfc8489-6.2.3-8] [rfc8489-6.2.3-10] [rfc7065-3.2-1a]
#[tokio::test]
async fn with_a_trusted_certificate_for_its_name_a_tls_server_relays() {
    let ca = authority();
    let server = server().await;
    let wire = Wire::tls(&ca, &certificate_for("localhost"));
    let front = Front::start(server.address(), wire).await;
    let url = format!("turns:localhost:{}", front.address.port());
    let node = || async {
        let builder = through(&server, &url).tls_roots(ca.pem().as_bytes()).unwrap();
        builder.bind().await.unwrap()
    };
    let (left, right) = (node().await, node().await);
    let (near, far) = connect(&left, &right).await;
    say(&near, &far, b"through TLS").await;
    say(&far, &near, &[7; 1200]).await;
    assert_eq!(front.accepted(), 2);
}

/// [rfc8489-6.2.3-8] [rfc8489-6.2.3-9] [rfc8489-6.2.3-10]
#[tokio::test]
async fn a_server_with_a_certificate_for_another_name_gets_nothing() {
    let ca = authority();
    let (failures, _front, server) = refused(&ca, &ca, certificate_for("relay.test")).await;
    assert!(certificate_is_named(&failures), "{failures:?}");
    assert_eq!(server.answered(), 0);
}

/// [rfc8489-6.2.3-8] [rfc8489-6.2.3-9]
#[tokio::test]
async fn a_server_with_an_untrusted_certificate_gets_nothing() {
    let (failures, _front, server) =
        refused(&authority(), &authority(), certificate_for("localhost")).await;
    assert!(certificate_is_named(&failures), "{failures:?}");
    assert_eq!(server.answered(), 0);
}

/// [rfc8489-6.2.3-8] [rfc8489-6.2.3-9]
#[tokio::test]
async fn a_server_with_an_expired_certificate_gets_nothing() {
    let ca = authority();
    let mut params = certificate_for("localhost");
    params.not_before = rcgen::date_time_ymd(2001, 1, 1);
    params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    let (failures, _front, server) = refused(&ca, &ca, params).await;
    assert!(certificate_is_named(&failures), "{failures:?}");
    assert_eq!(server.answered(), 0);
}

/// The same port serves UDP and TCP in the clear, and is not asked. [rfc7065-3.2-1a]
#[tokio::test]
async fn where_tls_fails_nothing_is_asked_in_the_clear() {
    let server = server().await;
    let url = format!("turns:127.0.0.1:{}", server.address().port());
    let node = through(&server, &url).tls_roots(authority().der()).unwrap().bind().await.unwrap();
    let (relays, failures) = gather(&node).await;
    assert_eq!(relays, []);
    assert!(failures.iter().all(|(transport, _)| *transport == Transport::Tls), "{failures:?}");
    assert!(!failures.is_empty());
    assert_eq!(server.answered(), 0);
}
