//! RFC 6062: TCP connections between the server and peers.

use core::time::Duration;
use std::net::SocketAddr;

use floe::stun::{
    AttributeType, Encoder, GiveUp, IntegrityKey, LongTerm, Message, MessageClass, Method,
    TransactionId,
};
use floe::turn::{
    BindError, Client, ClientConfig, ConnectError, ConnectionId, DataConnection, Error, Event,
    Received, RelayProtocol,
};
use floe::{DropReason, Instant, MIN_TRANSMIT, Transport};

const NONCE: &[u8] = b"the first nonce";
const FRESH: &[u8] = b"another nonce";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn peer() -> SocketAddr {
    address("198.51.100.7:4000")
}

fn other() -> SocketAddr {
    address("198.51.100.8:80")
}

fn seconds(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

fn key() -> IntegrityKey {
    IntegrityKey::long_term_md5(b"user", b"realm", b"pass")
}

fn config() -> ClientConfig {
    let credentials = LongTerm::new(b"user", b"pass").unwrap();
    let mut config = ClientConfig::new(Transport::Tcp, credentials);
    config.relay = RelayProtocol::Tcp;
    config
}

/// Writes a message of the server.
fn write(
    class: MessageClass,
    method: Method,
    id: TransactionId,
    fill: impl FnOnce(Encoder<'_>) -> Encoder<'_>,
) -> Vec<u8> {
    let mut buf = vec![0; 512];
    let length = fill(Encoder::new(&mut buf, class, method, id)).finish().unwrap();
    buf.truncate(length);
    buf
}

/// A success response, signed.
fn success(request: &[u8], fill: impl FnOnce(Encoder<'_>) -> Encoder<'_>) -> Vec<u8> {
    let request = Message::parse(request).unwrap();
    write(MessageClass::Success, request.method(), request.transaction_id(), |encoder| {
        fill(encoder).integrity(&key())
    })
}

/// An error response, signed.
fn error(request: &[u8], code: u16) -> Vec<u8> {
    let request = Message::parse(request).unwrap();
    write(MessageClass::Error, request.method(), request.transaction_id(), |encoder| {
        encoder.error_code(code, "").integrity(&key())
    })
}

/// A 401 or 438.
fn challenge(request: &[u8], code: u16, nonce: &[u8]) -> Vec<u8> {
    let request = Message::parse(request).unwrap();
    write(MessageClass::Error, request.method(), request.transaction_id(), |encoder| {
        encoder
            .error_code(code, "")
            .attribute(AttributeType::REALM, b"realm")
            .attribute(AttributeType::NONCE, nonce)
    })
}

fn connected(request: &[u8], id: u32) -> Vec<u8> {
    success(request, |encoder| encoder.u32(AttributeType::CONNECTION_ID, id))
}

fn attempt(from: SocketAddr, id: u32) -> Vec<u8> {
    let transaction = TransactionId([9; 12]);
    write(MessageClass::Indication, Method::CONNECTION_ATTEMPT, transaction, |encoder| {
        encoder
            .xor_address(AttributeType::XOR_PEER_ADDRESS, from)
            .u32(AttributeType::CONNECTION_ID, id)
    })
}

fn requests(client: &mut Client, now: Instant) -> Vec<Vec<u8>> {
    let mut buf = [0; MIN_TRANSMIT];
    core::iter::from_fn(|| client.poll_transmit(now, &mut buf).map(|len| buf[..len].to_vec()))
        .collect()
}

/// The one request that the client has.
fn request(client: &mut Client, now: Instant, method: Method) -> Vec<u8> {
    let mut requests = requests(client, now);
    assert_eq!(requests.len(), 1, "one request is due");
    assert_eq!(Message::parse(&requests[0]).unwrap().method(), method);
    requests.remove(0)
}

fn handle(client: &mut Client, now: Instant, message: &[u8]) {
    assert_eq!(client.handle_datagram(now, message), Received::Handled);
}

fn events(client: &mut Client) -> Vec<Event> {
    core::iter::from_fn(|| client.poll_event()).collect()
}

/// A client that has its allocation, and both requests for it.
fn allocated() -> (Client, [Vec<u8>; 2]) {
    let mut client = Client::new(Instant::ZERO, config(), [1; 32]);
    let first = request(&mut client, Instant::ZERO, Method::ALLOCATE);
    handle(&mut client, Instant::ZERO, &challenge(&first, 401, NONCE));
    let second = request(&mut client, Instant::ZERO, Method::ALLOCATE);
    let answer = success(&second, |encoder| {
        encoder
            .xor_address(AttributeType::XOR_RELAYED_ADDRESS, address("192.0.2.1:50000"))
            .xor_address(AttributeType::XOR_MAPPED_ADDRESS, address("203.0.113.1:1024"))
            .u32(AttributeType::LIFETIME, 600)
    });
    handle(&mut client, Instant::ZERO, &answer);
    assert_eq!(events(&mut client), [Event::Allocated]);
    (client, [first, second])
}

/// A client with a permission for [`peer`].
fn permitted() -> Client {
    let (mut client, _) = allocated();
    client.permit(Instant::ZERO, peer().ip()).unwrap();
    let permit = request(&mut client, Instant::ZERO, Method::CREATE_PERMISSION);
    handle(&mut client, Instant::ZERO, &success(&permit, |encoder| encoder));
    client
}

/// Asks for a connection, and has it granted.
fn connect(client: &mut Client, to: SocketAddr, id: u32) -> ConnectionId {
    client.connect(Instant::ZERO, to).unwrap();
    let connect = request(client, Instant::ZERO, Method::CONNECT);
    handle(client, Instant::ZERO, &connected(&connect, id));
    match events(client)[..] {
        [Event::Connected { peer, connection }] if peer == to => connection,
        ref other => panic!("{other:?}"),
    }
}

/// A connection that is asked to be bound, and the request.
fn binding() -> (DataConnection, Vec<u8>) {
    let (mut client, _) = allocated();
    let connection = connect(&mut client, peer(), 0xC0FF_EE01);
    let mut data = client.data_connection(Instant::ZERO, connection).unwrap();
    let bind = bind(&mut data).unwrap();
    (data, bind)
}

fn bind(data: &mut DataConnection) -> Option<Vec<u8>> {
    let mut buf = [0; MIN_TRANSMIT];
    data.poll_transmit(&mut buf).map(|length| buf[..length].to_vec())
}

fn kinds(message: &[u8]) -> Vec<AttributeType> {
    Message::parse(message).unwrap().attributes().map(|attribute| attribute.kind).collect()
}

/// [rfc6062-4.1-2] [rfc6062-4.1-3] [rfc6062-4.1-4]
#[test]
fn an_allocation_asks_for_tcp_and_for_nothing_that_only_udp_has() {
    let mut config = config();
    config.dont_fragment = true;
    let mut client = Client::new(Instant::ZERO, config, [1; 32]);
    let first = request(&mut client, Instant::ZERO, Method::ALLOCATE);
    handle(&mut client, Instant::ZERO, &challenge(&first, 401, NONCE));
    for allocate in [first, request(&mut client, Instant::ZERO, Method::ALLOCATE)] {
        let message = Message::parse(&allocate).unwrap();
        let transport = message.attribute(AttributeType::REQUESTED_TRANSPORT);
        assert_eq!(transport, Some(&[6, 0, 0, 0][..]));
        for of_udp in [
            AttributeType::DONT_FRAGMENT,
            AttributeType::RESERVATION_TOKEN,
            AttributeType::EVEN_PORT,
        ] {
            assert!(!kinds(&allocate).contains(&of_udp), "{of_udp:?}");
        }
    }
}

/// [rfc6062-4.1-5]
#[test]
fn a_lifetime_can_be_asked_for() {
    let mut config = config();
    config.lifetime = Duration::from_secs(1_800);
    let mut client = Client::new(Instant::ZERO, config, [1; 32]);
    let allocate = request(&mut client, Instant::ZERO, Method::ALLOCATE);
    let message = Message::parse(&allocate).unwrap();
    assert_eq!(message.attribute(AttributeType::LIFETIME), Some(&1_800_u32.to_be_bytes()[..]));
}

/// [rfc6062-4.1-1]
#[test]
fn no_allocation_of_tcp_is_asked_for_in_datagrams() {
    for (transport, stream) in [
        (Transport::Udp, false),
        (Transport::Dtls, false),
        (Transport::Tcp, true),
        (Transport::Tls, true),
    ] {
        let mut config = config();
        config.transport = transport;
        let mut client = Client::new(Instant::ZERO, config, [1; 32]);
        assert_eq!(requests(&mut client, Instant::ZERO).len(), usize::from(stream));
        let failed = [Event::Failed(Error::Protocol)];
        assert_eq!(events(&mut client), if stream { &[][..] } else { &failed }, "{transport}");
    }
}

/// [rfc6062-4.2-1] [rfc6062-4.6-1]
#[test]
fn the_allocation_is_refreshed_on_its_connection_while_a_connection_is_bound() {
    let (mut client, _) = allocated();
    let connection = connect(&mut client, peer(), 7);
    let mut data = client.data_connection(Instant::ZERO, connection).unwrap();
    let bind = bind(&mut data).unwrap();
    assert_eq!(data.handle_octets(&success(&bind, |encoder| encoder)), Ok(Some(&b""[..])));
    let mut refreshes = 0;
    while let Some(now) = client.poll_timeout().filter(|at| *at <= seconds(3_600)) {
        client.handle_timeout(now);
        for refresh in requests(&mut client, now) {
            assert_eq!(Message::parse(&refresh).unwrap().method(), Method::REFRESH);
            let answer = success(&refresh, |encoder| encoder.u32(AttributeType::LIFETIME, 600));
            handle(&mut client, now, &answer);
            refreshes += 1;
        }
    }
    assert!((6..=9).contains(&refreshes), "{refreshes} in an hour");
    assert_eq!((events(&mut client), bind_again(&mut data)), (vec![], None));
}

fn bind_again(data: &mut DataConnection) -> Option<Vec<u8>> {
    assert!(data.is_bound() && data.poll_timeout().is_none());
    bind(data)
}

/// [rfc6062-4.3-1] [rfc6062-4.3-2]
#[test]
fn a_connect_names_the_peer_and_carries_the_credentials() {
    let (mut client, _) = allocated();
    client.connect(Instant::ZERO, peer()).unwrap();
    let connect = request(&mut client, Instant::ZERO, Method::CONNECT);
    let message = Message::parse(&connect).unwrap();
    assert_eq!(message.class(), MessageClass::Request);
    assert_eq!(message.xor_peer_address(), Some(peer()));
    assert_eq!(message.nonce(), Some(NONCE));
    assert!(message.verify(&key()).is_ok());
}

/// [rfc6062-4.3-5] [rfc6062-4.3-6] [rfc6062-4.3-7]
#[test]
fn what_comes_first_on_a_data_connection_binds_it_with_the_same_credentials() {
    let (mut client, _) = allocated();
    let connection = connect(&mut client, peer(), 0xC0FF_EE01);
    let mut data = client.data_connection(Instant::ZERO, connection).unwrap();
    assert_eq!(data.peer(), peer());
    let request = bind(&mut data).unwrap();
    let message = Message::parse(&request).unwrap();
    let head = (message.class(), message.method());
    assert_eq!(head, (MessageClass::Request, Method::CONNECTION_BIND));
    assert_eq!(message.connection_id(), Some(0xC0FF_EE01));
    assert_eq!((message.username(), message.realm()), (Some(&b"user"[..]), Some(&b"realm"[..])));
    assert_eq!(message.nonce(), Some(NONCE));
    assert!(message.verify(&key()).is_ok());
    assert_eq!(bind(&mut data), None, "it is asked once");
    assert!(client.data_connection(Instant::ZERO, connection).is_none(), "it is bound once");
}

/// [rfc6062-4.3-p1]
#[test]
fn what_follows_the_answer_is_the_peers_wherever_the_stream_is_split() {
    // The octets of the peer look like anything, STUN among it.
    let follows = [&[0xFF, 0x00][..], &attempt(peer(), 1), b"and more"].concat();
    let (_, request) = binding();
    let answer = success(&request, |encoder| encoder);
    let stream = [&answer[..], &follows].concat();
    for split in 0..=stream.len() {
        let (mut data, again) = binding();
        assert_eq!(again, request, "equal seeds give equal octets");
        let mut received = Vec::new();
        for piece in [&stream[..split], &stream[split..]] {
            match data.handle_octets(piece).unwrap() {
                Some(of_peer) => received.extend_from_slice(of_peer),
                None => assert!(!data.is_bound()),
            }
        }
        assert!(data.is_bound());
        assert_eq!(received, follows, "split at {split}");
        assert_eq!(data.handle_octets(b"later"), Ok(Some(&b"later"[..])));
    }
}

/// A first piece longer than any message of STUN.
#[test]
fn much_may_follow_the_answer_at_once() {
    let (mut data, request) = binding();
    let follows = vec![0x5A; 200_000];
    let stream = [&success(&request, |encoder| encoder)[..], &follows].concat();
    assert!(data.handle_octets(&stream).unwrap() == Some(&follows[..]));
}

#[test]
fn a_refusal_says_why() {
    for (code, expected) in [
        (403, ConnectError::Forbidden),
        (443, ConnectError::Family),
        (446, ConnectError::Exists),
        (447, ConnectError::Unreachable),
        (400, ConnectError::Refused(400)),
        (508, ConnectError::Refused(508)),
    ] {
        let (mut client, _) = allocated();
        client.connect(Instant::ZERO, peer()).unwrap();
        let connect = request(&mut client, Instant::ZERO, Method::CONNECT);
        handle(&mut client, Instant::ZERO, &error(&connect, code));
        let failed = Event::ConnectFailed { peer: peer(), error: expected };
        assert_eq!(events(&mut client), [failed], "{code}");
    }
}

/// [rfc6062-4.3-8a] [rfc6062-4.3-8b]
#[test]
fn a_peer_that_cannot_be_reached_is_asked_for_again_after_ten_seconds() {
    let (mut client, _) = allocated();
    client.connect(Instant::ZERO, peer()).unwrap();
    let connect = request(&mut client, Instant::ZERO, Method::CONNECT);
    handle(&mut client, seconds(30), &error(&connect, 447));
    assert_eq!(client.connect(seconds(30), peer()), Err(ConnectError::TooSoon));
    let almost = Instant::from_nanos(seconds(40).as_nanos() - 1);
    assert_eq!(client.connect(almost, peer()), Err(ConnectError::TooSoon));
    assert_eq!(client.connect(seconds(30), other()), Ok(()), "another peer may be asked for");
    assert_eq!(client.connect(seconds(40), peer()), Ok(()));
}

/// [rfc6062-4.3-9] [rfc6062-4.3-10]
#[test]
fn several_peers_are_asked_for_at_once_but_each_only_once() {
    let (mut client, _) = allocated();
    assert_eq!(client.connect(Instant::ZERO, peer()), Ok(()));
    assert_eq!(client.connect(Instant::ZERO, other()), Ok(()));
    assert_eq!(client.connect(Instant::ZERO, peer()), Err(ConnectError::Pending));
    let connects = requests(&mut client, Instant::ZERO);
    let peers: Vec<_> = connects
        .iter()
        .map(|connect| Message::parse(connect).unwrap().xor_peer_address().unwrap())
        .collect();
    assert_eq!(peers, [peer(), other()]);
    assert_eq!(client.connect(Instant::ZERO, peer()), Err(ConnectError::Pending));
    handle(&mut client, Instant::ZERO, &connected(&connects[1], 2));
    handle(&mut client, Instant::ZERO, &error(&connects[0], 446));
    assert_eq!(client.connect(Instant::ZERO, peer()), Ok(()), "it was answered");
    assert_eq!(events(&mut client).len(), 2);
}

#[test]
fn a_connect_that_nobody_answers_fails_when_its_time_is_over() {
    let (mut client, _) = allocated();
    client.connect(Instant::ZERO, peer()).unwrap();
    let _ = request(&mut client, Instant::ZERO, Method::CONNECT);
    // The server may take 30 s to reach the peer, so we wait for longer.
    client.handle_timeout(seconds(39));
    assert_eq!(events(&mut client), []);
    client.handle_timeout(seconds(40));
    let failed = Event::ConnectFailed { peer: peer(), error: ConnectError::Timeout };
    assert_eq!(events(&mut client), [failed]);
}

#[test]
fn what_cannot_be_is_not_asked_for() {
    let mut young = Client::new(Instant::ZERO, config(), [1; 32]);
    assert_eq!(young.connect(Instant::ZERO, peer()), Err(ConnectError::NoAllocation));
    let (mut client, _) = allocated();
    let ipv6 = address("[2001:db8::1]:4000");
    assert_eq!(client.connect(Instant::ZERO, ipv6), Err(ConnectError::Family));
    let mut datagrams = config();
    datagrams.relay = RelayProtocol::Udp;
    let mut client = Client::new(Instant::ZERO, datagrams, [1; 32]);
    assert_eq!(client.connect(Instant::ZERO, peer()), Err(ConnectError::NotTcp));
}

/// [rfc6062-4.4-3] [rfc6062-4.4-4] [rfc6062-4.4-5]
#[test]
fn a_peer_that_connects_is_told_and_can_be_bound() {
    let mut client = permitted();
    handle(&mut client, Instant::ZERO, &attempt(peer(), 0xAA55));
    let events = events(&mut client);
    let [Event::ConnectionAttempt { peer: from, connection }] = events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(from, peer());
    let mut data = client.data_connection(Instant::ZERO, connection).unwrap();
    let request = bind(&mut data).unwrap();
    let message = Message::parse(&request).unwrap();
    assert_eq!(message.method(), Method::CONNECTION_BIND);
    assert_eq!(message.connection_id(), Some(0xAA55));
    assert!(message.verify(&key()).is_ok());
    assert_eq!(data.handle_octets(&success(&request, |encoder| encoder)), Ok(Some(&b""[..])));
}

#[test]
fn an_attempt_of_a_peer_without_permission_is_dropped() {
    let mut client = permitted();
    let attempted = attempt(other(), 1);
    let dropped = client.handle_datagram(Instant::ZERO, &attempted);
    assert_eq!(dropped, Received::Dropped(DropReason::NoPermission));
    // The permission is for the address, whatever the port.
    let port = SocketAddr::new(peer().ip(), 1);
    handle(&mut client, Instant::ZERO, &attempt(port, 1));
    assert_eq!(events(&mut client).len(), 1);
}

#[test]
fn a_broken_attempt_is_dropped() {
    let mut client = permitted();
    let id = TransactionId([9; 12]);
    let nameless = write(MessageClass::Indication, Method::CONNECTION_ATTEMPT, id, |encoder| {
        encoder.xor_address(AttributeType::XOR_PEER_ADDRESS, peer())
    });
    let from_nobody = write(MessageClass::Indication, Method::CONNECTION_ATTEMPT, id, |encoder| {
        encoder.u32(AttributeType::CONNECTION_ID, 1)
    });
    for broken in [nameless, from_nobody] {
        let dropped = client.handle_datagram(Instant::ZERO, &broken);
        assert_eq!(dropped, Received::Dropped(DropReason::MissingAttribute));
    }
    let attempted = attempt(peer(), 1);
    handle(&mut client, Instant::ZERO, &attempted);
    let again = client.handle_datagram(Instant::ZERO, &attempted);
    assert_eq!(again, Received::Dropped(DropReason::UnexpectedMessage));
    assert_eq!(events(&mut client).len(), 1);
}

#[test]
fn attempts_that_nobody_binds_are_bounded_and_forgotten() {
    let mut client = permitted();
    let most = config().max_peers;
    for id in 0..most {
        handle(&mut client, Instant::ZERO, &attempt(peer(), id.into()));
    }
    let more = attempt(peer(), most.into());
    let dropped = client.handle_datagram(Instant::ZERO, &more);
    assert_eq!(dropped, Received::Dropped(DropReason::Limit));
    assert_eq!(client.connect(Instant::ZERO, other()), Err(ConnectError::Limit));
    let told = events(&mut client);
    assert_eq!(told.len(), usize::from(most));
    let Event::ConnectionAttempt { connection, .. } = told[0] else { panic!("{told:?}") };
    let late = seconds(30);
    assert!(client.data_connection(late, connection).is_none(), "the server let go of it");
    assert_eq!(client.connect(late, other()), Ok(()));
}

#[test]
fn a_lost_allocation_takes_its_connections_along() {
    let mut client = permitted();
    let connection = connect(&mut client, other(), 5);
    client.connect(Instant::ZERO, peer()).unwrap();
    let connect = request(&mut client, Instant::ZERO, Method::CONNECT);
    handle(&mut client, Instant::ZERO, &error(&connect, 437));
    let failed = Event::ConnectFailed { peer: peer(), error: ConnectError::NoAllocation };
    let told = events(&mut client);
    assert!(told.contains(&failed) && told.contains(&Event::Lost), "{told:?}");
    assert!(client.data_connection(Instant::ZERO, connection).is_none());
}

/// A server whose nonces are for one connection each.
#[test]
fn a_stale_nonce_on_the_data_connection_is_answered_with_the_new_one() {
    let (mut data, first) = binding();
    assert_eq!(data.handle_octets(&challenge(&first, 438, FRESH)), Ok(None));
    let second = bind(&mut data).unwrap();
    let message = Message::parse(&second).unwrap();
    assert_eq!(message.nonce(), Some(FRESH));
    assert_ne!(message.transaction_id(), Message::parse(&first).unwrap().transaction_id());
    assert!(message.verify(&key()).is_ok());
    let late = success(&first, |encoder| encoder);
    assert_eq!(data.handle_octets(&late), Ok(None), "the answer to another request");
    assert_eq!(data.handle_octets(&success(&second, |encoder| encoder)), Ok(Some(&b""[..])));
}

#[test]
fn challenges_on_a_data_connection_come_to_an_end() {
    let (mut data, mut request) = binding();
    let mut sent = 1;
    let error = loop {
        match data.handle_octets(&challenge(&request, 438, FRESH)) {
            Ok(_) => request = bind(&mut data).unwrap(),
            Err(error) => break error,
        }
        sent += 1;
        assert!(sent < 10, "a storm");
    };
    assert_eq!(error, BindError::Credentials(GiveUp::TooMany));
    assert_eq!(bind(&mut data), None);

    let (mut data, request) = binding();
    let refused = BindError::Credentials(GiveUp::Credentials);
    assert_eq!(data.handle_octets(&challenge(&request, 401, FRESH)), Err(refused));
}

/// [rfc8489-9.2.5-18a]
#[test]
fn an_answer_that_is_not_authentic_binds_nothing() {
    let (_, request) = binding();
    let message = Message::parse(&request).unwrap();
    let unsigned =
        write(MessageClass::Success, message.method(), message.transaction_id(), |encoder| encoder);
    let mut forged = success(&request, |encoder| encoder);
    *forged.last_mut().unwrap() ^= 1;
    for answer in [unsigned, forged] {
        let (mut data, _) = binding();
        assert_eq!(data.handle_octets(&answer), Err(BindError::Integrity));
        assert!(!data.is_bound());
        assert_eq!(data.handle_octets(b"peer"), Err(BindError::Integrity), "it stays so");
    }
}

#[test]
fn a_connection_that_is_not_bound_says_why() {
    let (mut data, request) = binding();
    assert_eq!(data.handle_octets(&error(&request, 400)), Err(BindError::Refused(400)));

    let (mut data, _) = binding();
    let http = b"HTTP/1.1 400 Bad Request\r\n";
    assert_eq!(data.handle_octets(http), Err(BindError::NotStun));

    let (mut data, _) = binding();
    assert_eq!(data.poll_timeout(), Some(seconds(30)));
    assert_eq!(data.handle_timeout(seconds(29)), Ok(()));
    assert_eq!(data.handle_timeout(seconds(30)), Err(BindError::Timeout));
    assert_eq!(data.poll_timeout(), None);
}

#[test]
fn nothing_of_the_credentials_is_shown() {
    let (data, _) = binding();
    let shown = format!("{data:?}");
    assert!(!shown.contains("pass") && !shown.contains("112, 97"), "{shown}");
}
