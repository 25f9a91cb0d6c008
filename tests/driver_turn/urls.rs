//! How servers are given. [RFC 7064] [RFC 7065]

use floe::Node;
use floe::Transport::{Dtls, Tcp, Tls, Udp};
use floe::driver::{Host, ServerError, ServerUrl, StunUrl, TurnUrl, UrlError};

use super::relay_only;

/// [rfc7064-3.1-1] [rfc7064-3.1-p1] [rfc7064-3.2-1a] [rfc7064-3.2-1b] [rfc8489-8.1-1]
#[test]
fn stun_urls_are_read_by_their_own_grammar() {
    let url: StunUrl = "STUN:[2001:db8::1]:19302".parse().unwrap();
    assert_eq!((url.host().to_string().as_str(), url.port()), ("[2001:db8::1]", Some(19_302)));
    assert!(!url.is_secure());
    let url: StunUrl = "stuns:example.org".parse().unwrap();
    assert_eq!((url.host(), url.port()), (&Host::Name("example.org".into()), None));
    assert!(url.is_secure());
    for (text, error) in [
        ("stuns:192.0.2.1", UrlError::SecureAddress),
        ("stun://example.org", UrlError::NotPlain),
        ("stun:user@example.org", UrlError::NotPlain),
        ("stun:example.org?transport=udp", UrlError::NotPlain),
        ("http:example.org", UrlError::UnknownScheme),
    ] {
        assert_eq!(text.parse::<StunUrl>(), Err(error), "{text}");
    }
}

/// [rfc7065-3.1-1] [rfc7065-3.1-p1] [rfc7065-3.2-1a] [rfc7065-3.2-1b] [rfc7065-3.2-p1]
#[test]
fn turn_urls_are_read_by_their_own_grammar() {
    for (text, transports) in [
        ("turn:example.org", &[Udp, Tcp][..]),
        ("turn:example.org?transport=udp", &[Udp]),
        ("turn:example.org:80?transport=tcp", &[Tcp]),
        ("turns:example.org", &[Tls]),
        ("turns:example.org?transport=tcp", &[Tls]),
        ("turns:192.0.2.1:443?transport=udp", &[Dtls]),
    ] {
        let url: TurnUrl = text.parse().unwrap();
        assert_eq!((url.transports(), url.to_string().as_str()), (transports, text));
    }
    for (text, error) in [
        ("turn://example.org", UrlError::NotPlain),
        ("turn:user@example.org", UrlError::NotPlain),
        ("turn:example.org?transport=sctp", UrlError::Transport),
        ("turn:example.org?ttl=86400", UrlError::Transport),
    ] {
        assert_eq!(text.parse::<TurnUrl>(), Err(error), "{text}");
    }
}

/// What a `stuns:` server says of a TLS connection is of no use to UDP.
#[test]
fn what_a_node_cannot_use_is_refused_with_what_to_write() {
    let refused = |url: &str| Node::builder().stun(url).unwrap_err();
    assert_eq!(refused("stuns:example.org"), UrlError::Secure);
    assert!(refused("stuns:example.org").to_string().ends_with("write stun:host:port"));
    let refused = |url: &str, password: &str| Node::builder().turn(url, "user", password);
    let error = refused("stun:example.org", "secret").unwrap_err();
    assert_eq!(error, ServerError::Url(UrlError::Stun));
    let error = refused("turn:example.org", &"x".repeat(509)).unwrap_err();
    assert!(matches!(error, ServerError::Credentials(_)));
    assert!(error.to_string().ends_with("use shorter ones"));
}

/// [rfc7065-4-1] [rfc7064-4-1]
#[test]
fn passwords_are_not_shown() {
    let builder = Node::builder().turn("turn:example.org", "user", "secret-password").unwrap();
    assert!(!format!("{builder:?}").contains("secret-password"));
}

#[tokio::test]
async fn a_name_that_is_not_resolved_is_reported() {
    let url = "turn:relay.local";
    let node = relay_only().turn(url, "user", "secret").unwrap().bind().await.unwrap();
    assert_eq!(node.unresolved(), [ServerUrl::Turn(url.parse().unwrap())]);
}
