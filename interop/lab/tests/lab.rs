//! The lab itself.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use lab::{CLIENTS, CLIENTS6, Coturn, NAME, Network, SERVERS, SERVERS6};

fn udp(ip: impl Into<IpAddr>) -> UdpSocket {
    let socket = UdpSocket::bind((ip.into(), 0)).expect("an address of this host");
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    socket
}

#[test]
fn a_datagram_crosses_the_cable_unless_it_is_pulled() {
    let network = Network::enter();
    let pairs: [(IpAddr, IpAddr); 2] =
        [(CLIENTS[1].into(), SERVERS[1].into()), (CLIENTS6[1].into(), SERVERS6[1].into())];
    for up in [true, false, true] {
        for (client, server) in pairs {
            let client = udp(client);
            let server = network.server.run(move || udp(server));
            network.set_link(up);
            client.send_to(b"over the cable", server.local_addr().expect("bound")).expect("sent");
            assert_eq!(server.recv_from(&mut [0; 20]).is_ok(), up);
            network.set_link(true);
        }
    }
}

/// Once there and once back.
#[test]
fn a_cable_takes_the_time_that_it_is_told_to() {
    let network = Network::enter_far(Duration::from_millis(25));
    let pairs: [(IpAddr, IpAddr); 2] =
        [(CLIENTS[0].into(), SERVERS[0].into()), (CLIENTS6[0].into(), SERVERS6[0].into())];
    for (client, server) in pairs {
        let client = udp(client);
        let server = network.server.run(move || udp(server));
        client.connect(server.local_addr().expect("bound")).expect("connected");
        let round_trip = |_| {
            let began = Instant::now();
            client.send(b"over the cable").expect("sent");
            let (_, from) = server.recv_from(&mut [0; 20]).expect("received");
            server.send_to(b"and back", from).expect("sent");
            client.recv(&mut [0; 20]).expect("received");
            began.elapsed()
        };
        // The first looks for the address of the other host, too, and others may be busy.
        let least = (0..10).map(round_trip).min().expect("some");
        assert!(least >= Duration::from_millis(50), "{least:?}");
        assert!(least < Duration::from_millis(90), "{least:?}");
    }
}

#[test]
fn names_of_the_lab_are_known_and_no_others() {
    let _network = Network::enter();
    let of = |name: &str| (name, 1).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
    let server = SocketAddr::from((SERVERS[0], 1));
    assert_eq!(of(NAME).expect("the lab's name"), [server]);
    assert!(of("example.org").is_err());
}

#[test]
fn coturn_answers_again_after_a_restart_and_not_when_stopped() {
    let network = Network::enter();
    let mut coturn = Coturn::start(&network, &[]);
    coturn.restart(&network);
    coturn.stop();
    assert!(std::net::TcpStream::connect_timeout(&Coturn::PLAIN, Duration::from_secs(1)).is_err());
}
