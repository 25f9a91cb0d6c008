//! TCP connections to peers (RFC 6062) through coturn.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use floe::turn::{ConnectError, ConnectionId, Event, Families, RelayProtocol};
use floe::{MIN_TRANSMIT, Transport};
use lab::{CLIENTS, Coturn, Network};
use turn_interop::{SOON, Session};

/// What the peer says before it hears anything.
const GREETING: &[u8] = b"the peer speaks first";

/// A peer that greets, and then says back what it hears.
fn peer() -> SocketAddr {
    let listener = TcpListener::bind((CLIENTS[1], 0)).expect("an address of this host");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut stream = stream?;
                stream.write_all(GREETING)?;
                let mut back = stream.try_clone()?;
                std::io::copy(&mut stream, &mut back)
            });
        }
    });
    address
}

fn allocated() -> Session {
    let mut config = Session::config(Transport::Tcp);
    config.relay = RelayProtocol::Tcp;
    config.families = Families::Ipv4;
    Session::start(config, CLIENTS[0], Coturn::PLAIN).allocated()
}

/// Opens a connection to the server and binds it; returns it with what the peer said so far.
fn bind(session: &mut Session, connection: ConnectionId) -> (TcpStream, Vec<u8>) {
    let now = session.now();
    let mut data = session.client.data_connection(now, connection).expect("it is offered");
    let mut stream = TcpStream::connect(Coturn::PLAIN).expect("the server takes connections");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    let mut buf = [0; MIN_TRANSMIT];
    loop {
        if let Some(length) = data.poll_transmit(&mut buf) {
            stream.write_all(&buf[..length]).expect("an open connection");
        }
        let length = stream.read(&mut buf).expect("an answer");
        assert_ne!(length, 0, "the server closed the connection");
        if let Some(of_peer) = data.handle_octets(&buf[..length]).expect("a success") {
            return (stream, of_peer.to_vec());
        }
    }
}

/// Reads until there are so many octets.
fn read(stream: &mut TcpStream, mut octets: Vec<u8>, length: usize) -> Vec<u8> {
    let have = octets.len();
    octets.resize(length, 0);
    stream.read_exact(&mut octets[have..]).expect("the octets of the peer");
    octets
}

#[test]
fn a_connection_to_a_peer_carries_octets_both_ways() {
    let network = Network::enter();
    let _coturn = Coturn::start(&network, &[]);
    let peer = peer();
    let mut session = allocated();
    session.client.connect(session.now(), peer).expect("there is an allocation");
    let event = session.wait_for(SOON, |event| matches!(event, Event::Connected { .. }));
    let Some(Event::Connected { peer: to, connection }) = event else { panic!("{event:?}") };
    assert_eq!(to, peer);
    let (mut stream, first) = bind(&mut session, connection);
    assert_eq!(read(&mut stream, first, GREETING.len()), GREETING);
    // Little at a time: with a megabyte under way coturn stalled now and then.
    for round in 0..64_u32 {
        let data: Vec<u8> = (0..8_192).map(|at| (round + at).to_be_bytes()[3]).collect();
        stream.write_all(&data).expect("an open connection");
        assert!(read(&mut stream, Vec::new(), data.len()) == data, "other octets in {round}");
    }
}

#[test]
fn a_peer_that_connects_is_bound() {
    let network = Network::enter();
    let _coturn = Coturn::start(&network, &[]);
    let mut session = allocated();
    // The system picks the first address of the host for the peer.
    session.permit(SocketAddr::new(CLIENTS[0].into(), 0));
    let granted =
        session.drive(SOON, |session| session.heard > session.sent.last().map(|sent| sent.at));
    assert!(granted, "no answer");
    let relayed = session.relayed(Coturn::PLAIN);
    let mut peer = TcpStream::connect(relayed).expect("the relay listens");
    peer.set_read_timeout(Some(SOON)).expect("a timeout");
    peer.write_all(GREETING).expect("an open connection");
    let event = session.wait_for(SOON, |event| matches!(event, Event::ConnectionAttempt { .. }));
    let Some(Event::ConnectionAttempt { connection, .. }) = event else { panic!("{event:?}") };
    let (mut stream, first) = bind(&mut session, connection);
    assert_eq!(read(&mut stream, first, GREETING.len()), GREETING);
    stream.write_all(b"and the answer").expect("an open connection");
    assert_eq!(read(&mut peer, Vec::new(), 14), b"and the answer");
}

#[test]
fn a_peer_that_does_not_listen_is_unreachable() {
    let network = Network::enter();
    let _coturn = Coturn::start(&network, &[]);
    let mut session = allocated();
    let peer = SocketAddr::new(CLIENTS[1].into(), 1);
    session.client.connect(session.now(), peer).expect("there is an allocation");
    let event = session.wait_for(SOON, |event| matches!(event, Event::ConnectFailed { .. }));
    let error = ConnectError::Unreachable;
    assert_eq!(event, Some(Event::ConnectFailed { peer, error }));
    assert_eq!(session.client.connect(session.now(), peer), Err(ConnectError::TooSoon));
}
