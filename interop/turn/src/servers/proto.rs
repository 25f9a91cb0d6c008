//! `turn-server-proto`: it has no sockets and no clock of its own.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use turn_server_proto::api::{SocketAllocateError, Transmit, TurnServerApi, TurnServerPollRet};
use turn_server_proto::server::TurnServer;
use turn_server_proto::types::AddressFamily;
use turn_server_proto::types::stun::TransportType;

/// The server, on a thread of its own until it is dropped. It knows MESSAGE-INTEGRITY-SHA256,
/// USERHASH, and allocations of two families.
pub struct Proto {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Proto {
    /// Starts it at `listen`, at a free port if that has none, relaying from these addresses of the
    /// host. Its clock is so many times as fast as the world's; a nonce lives for `nonce` by that
    /// clock.
    ///
    /// # Panics
    ///
    /// If the host does not have the address.
    pub fn start(listen: SocketAddr, relays: &[IpAddr], speed: u32, nonce: Duration) -> Self {
        let (address, socket) = bind(listen).expect("a free address of this host");
        let mut server = TurnServer::new(TransportType::Udp, address, lab::REALM.into());
        server.add_user(lab::USER.into(), lab::PASSWORD.into());
        server.set_nonce_expiry_duration(nonce);
        let work = Work {
            server,
            sockets: BTreeMap::from([(address, socket)]),
            relays: relays.to_vec(),
            start: Instant::now(),
            speed,
        };
        let over = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let over = Arc::clone(&over);
            move || work.until(&over)
        });
        Self { address, over, thread: Some(thread) }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Proto {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<(SocketAddr, UdpSocket)> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    Ok((socket.local_addr()?, socket))
}

struct Work {
    server: TurnServer,
    sockets: BTreeMap<SocketAddr, UdpSocket>,
    relays: Vec<IpAddr>,
    start: Instant,
    speed: u32,
}

impl Work {
    fn until(mut self, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            self.read();
            self.do_what_is_due();
            self.wait();
        }
    }

    fn now(&self) -> turn_server_proto::stun::Instant {
        turn_server_proto::stun::Instant::ZERO + self.start.elapsed() * self.speed
    }

    fn read(&mut self) {
        let now = self.now();
        let mut buffer = [0; 65_536];
        for (local, socket) in &self.sockets {
            while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                let data = buffer.get(..len).unwrap_or_default();
                let transmit = Transmit::new(data, TransportType::Udp, from, *local);
                if let Some(reply) = self.server.recv(transmit, now) {
                    let reply = reply.build();
                    send(&self.sockets, reply.from, reply.to, &reply.data);
                }
            }
        }
    }

    fn do_what_is_due(&mut self) {
        let now = self.now();
        loop {
            match self.server.poll(now) {
                TurnServerPollRet::WaitUntil(_) => break,
                TurnServerPollRet::AllocateSocket {
                    transport,
                    listen_addr,
                    client_addr,
                    allocation_transport,
                    family,
                } => {
                    let socket = self.allocate(family);
                    self.server.allocated_socket(
                        transport,
                        listen_addr,
                        client_addr,
                        allocation_transport,
                        family,
                        socket,
                        now,
                    );
                }
                TurnServerPollRet::SocketClose { listen_addr, .. } => {
                    self.sockets.remove(&listen_addr);
                }
                TurnServerPollRet::TcpConnect { .. } | TurnServerPollRet::TcpClose { .. } => {
                    unreachable!("over UDP alone")
                }
            }
        }
        while let Some(transmit) = self.server.poll_transmit(now) {
            send(&self.sockets, transmit.from, transmit.to, &transmit.data);
        }
    }

    fn allocate(&mut self, family: AddressFamily) -> Result<SocketAddr, SocketAllocateError> {
        let of_family = |ip: &&IpAddr| (family == AddressFamily::IPV4) == ip.is_ipv4();
        let ip = self.relays.iter().find(of_family);
        let ip = *ip.ok_or(SocketAllocateError::AddressFamilyNotSupported)?;
        let full = SocketAllocateError::InsufficientCapacity;
        let (address, socket) = bind(SocketAddr::new(ip, 0)).map_err(|_| full)?;
        self.sockets.insert(address, socket);
        Ok(address)
    }

    /// Waits for a datagram, but not long: time passes faster for the server.
    fn wait(&self) {
        let readable = |socket: &UdpSocket| libc::pollfd {
            fd: socket.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let mut all: Vec<libc::pollfd> = self.sockets.values().map(readable).collect();
        // SAFETY: `all` outlives the call and is as long as said.
        unsafe { libc::poll(all.as_mut_ptr(), all.len() as libc::nfds_t, 5) };
    }
}

fn send(sockets: &BTreeMap<SocketAddr, UdpSocket>, from: SocketAddr, to: SocketAddr, data: &[u8]) {
    if let Some(socket) = sockets.get(&from) {
        let _ = socket.send_to(data, to);
    }
}
