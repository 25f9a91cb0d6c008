//! What needs a link of its own: loopback has no link-local addresses.

use std::fs;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::process::Command;

use floe::candidate::CandidateKind;
use floe::signaling::memory;
use floe::{ConnectionEvent, Node};
use lab::Network;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::node::{SOON, assert_carries};

/// Gives this end of the cable a link-local address that is used at once, and binds a node to it.
async fn node(link: &str, ip: Ipv6Addr) -> (Node, SocketAddr) {
    let add = format!("-6 address add {ip}/64 dev {link} nodad");
    let added = Command::new("ip").args(add.split(' ')).status().expect("`ip`: run interop/setup");
    assert!(added.success(), "ip {add}");
    // Address, index of the link, and more.
    let table = fs::read_to_string("/proc/thread-self/net/if_inet6").expect("IPv6");
    let of_ip = format!("{:032x} ", ip.to_bits());
    let line = table.lines().find_map(|line| line.strip_prefix(&of_ip)).expect("the address");
    let index = line.split_whitespace().next().expect("an index");
    let index = u32::from_str_radix(index, 16).expect("a number");
    let address = SocketAddrV6::new(ip, 0, 0, index).into();
    let node = Node::builder().address(address).bind().await.expect("a socket");
    (node, address)
}

/// Each system names its link, signalling names none: both are one candidate.
#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_meet_as_hosts_on_their_link_local_addresses() {
    let network = Network::enter();
    let [one, two] = [1, 2].map(|host| Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, host));
    let (left, near) = node("client", one).await;
    let runtime = Handle::current();
    let (right, far) = network.server.run(move || runtime.block_on(node("server", two)));
    let (alice, bob) = memory::pair(16);
    let both = async { tokio::try_join!(left.connect(alice), right.accept(bob)) };
    let (alice, bob) = timeout(SOON, both).await.expect("in time").expect("a connection");
    let ends = [alice, bob];
    assert_carries(&ends, 100).await;
    for (end, (own, other)) in ends.iter().zip([(near, far), (far, near)]) {
        let mut events = end.events();
        let selected = async {
            loop {
                if let ConnectionEvent::Selected(pair) = events.next().await.expect("open") {
                    break pair;
                }
            }
        };
        let pair = timeout(SOON, selected).await.expect("in time");
        assert_eq!((pair.base.ip(), pair.remote.address.ip()), (own.ip(), other.ip()));
        let kinds = [pair.local.kind, pair.remote.kind];
        assert_eq!(kinds, [CandidateKind::Host; 2], "{pair:?}");
        assert!(end.selected().is_some(), "the socket of the pair is there");
    }
    // Addresses that were named are known again, with their links.
    assert!(left.network_changed().await.is_empty());
    assert!(right.network_changed().await.is_empty());
}
