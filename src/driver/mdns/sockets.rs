//! The sockets of multicast DNS: one for each link and family.

use core::task::{Context, Poll};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tracing::debug;

use crate::driver::interfaces::Link;
use crate::probe::mdns::{Arrival, Destination, GROUP_V4, GROUP_V6, HOPS, LinkId, PORT};

/// A link and what is open on it.
#[derive(Debug)]
struct Open {
    link: Link,
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
}

impl Open {
    fn sockets(&self) -> impl Iterator<Item = &UdpSocket> {
        self.v4.iter().chain(&self.v6)
    }
}

/// All sockets.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    links: Vec<Open>,
    /// The link that is read first.
    next: usize,
}

impl Sockets {
    /// Opens what is missing for these links and closes what is of others; returns the links that
    /// are gone, and how many sockets could not be opened.
    pub(super) fn follow(&mut self, links: Vec<Link>) -> (Vec<LinkId>, u64) {
        let mut gone = Vec::new();
        self.links.retain(|open| {
            let kept = links.contains(&open.link);
            if !kept {
                gone.push(open.link.id);
            }
            kept
        });
        let mut failures = 0;
        for link in links {
            if self.links.iter().any(|open| open.link == link) {
                continue;
            }
            let mut opened = |socket: io::Result<UdpSocket>| match socket {
                Ok(socket) => Some(socket),
                Err(error) => {
                    debug!(link = link.id.0, %error, "no multicast DNS");
                    failures += 1;
                    None
                }
            };
            let v4 = link.v4.and_then(|address| opened(open_v4(address)));
            let v6 = link.v6.then(|| open_v6(link.id.0)).and_then(&mut opened);
            self.links.push(Open { link, v4, v6 });
        }
        (gone, failures)
    }

    pub(super) fn close(&mut self) {
        self.links.clear();
    }

    /// The links with this address.
    pub(super) fn links_of(&self, ip: IpAddr) -> impl Iterator<Item = LinkId> {
        let has = move |open: &&Open| open.link.addresses.contains(&ip);
        self.links.iter().filter(has).map(|open| open.link.id)
    }

    /// Reads one datagram into `buf`. What comes from beyond the link is read and left.
    /// [RFC 6762 §11]
    pub(super) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<(Option<Arrival>, usize)> {
        let count = self.links.len();
        for turn in 0..count {
            let place = (self.next + turn) % count;
            let Some(open) = self.links.get(place) else { continue };
            for socket in open.sockets() {
                let mut datagram = ReadBuf::new(buf);
                match socket.poll_recv_from(cx, &mut datagram) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(from)) => {
                        let len = datagram.filled().len();
                        let arrival = self.arrival(open, from);
                        self.next = (place + 1) % count;
                        return Poll::Ready((arrival, len));
                    }
                    Poll::Ready(Err(_)) => {
                        self.next = (place + 1) % count;
                        return Poll::Ready((None, 0));
                    }
                }
            }
        }
        Poll::Pending
    }

    /// Which link it came from: that of the socket, unless the source is of another one, as a
    /// packet by unicast may come to any socket with the port.
    fn arrival(&self, open: &Open, from: SocketAddr) -> Option<Arrival> {
        let ip = from.ip();
        let is_near = |open: &&Open| open.link.subnets.iter().any(|net| net.contains(ip));
        let open = Some(open).filter(is_near).or_else(|| self.links.iter().find(is_near))?;
        let own = self.links.iter().any(|open| open.link.addresses.contains(&ip));
        Some(Arrival { link: open.link.id, from, own })
    }

    /// Sends a packet; returns how often it left.
    pub(super) async fn send(&self, to: Destination, packet: &[u8]) -> u64 {
        let mut sent = 0;
        for open in &self.links {
            let id = open.link.id;
            let (v4, v6) = match to {
                Destination::Everywhere => groups(id),
                Destination::Link(link) if link == id => groups(id),
                Destination::Address(link, address) if link == id => match address {
                    SocketAddr::V4(_) => (Some(address), None),
                    SocketAddr::V6(_) => (None, Some(address)),
                },
                Destination::Link(_) | Destination::Address(..) => continue,
            };
            for (socket, to) in [(&open.v4, v4), (&open.v6, v6)] {
                let Some((socket, to)) = socket.as_ref().zip(to) else { continue };
                match socket.send_to(packet, to).await {
                    Ok(_) => sent += 1,
                    Err(error) => debug!(link = id.0, %error, "multicast DNS"),
                }
            }
        }
        sent
    }
}

/// The groups of a link.
fn groups(link: LinkId) -> (Option<SocketAddr>, Option<SocketAddr>) {
    let v6 = SocketAddrV6::new(GROUP_V6, PORT, 0, link.0);
    (Some((GROUP_V4, PORT).into()), Some(v6.into()))
}

/// Opens a socket that shares the port with all who have it.
fn shared(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    #[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
    socket.set_reuse_port(true)?;
    Ok(socket)
}

fn open_v4(address: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = shared(Domain::IPV4)?;
    // What others joined is theirs.
    #[cfg(target_os = "linux")]
    socket.set_multicast_all_v4(false)?;
    socket.set_multicast_if_v4(&address)?;
    socket.set_multicast_loop_v4(true)?;
    socket.set_multicast_ttl_v4(HOPS)?;
    socket.set_ttl_v4(HOPS)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)).into())?;
    socket.join_multicast_v4(&GROUP_V4, &address)?;
    UdpSocket::from_std(socket.into())
}

fn open_v6(link: u32) -> io::Result<UdpSocket> {
    let socket = shared(Domain::IPV6)?;
    socket.set_only_v6(true)?;
    #[cfg(target_os = "linux")]
    socket.set_multicast_all_v6(false)?;
    socket.set_multicast_if_v6(link)?;
    socket.set_multicast_loop_v6(true)?;
    socket.set_multicast_hops_v6(HOPS)?;
    socket.set_unicast_hops_v6(HOPS)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT)).into())?;
    socket.join_multicast_v6(&GROUP_V6, link)?;
    UdpSocket::from_std(socket.into())
}
