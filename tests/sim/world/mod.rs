//! The world as stories see it: its clock jumps to whatever comes next.

pub(crate) mod call;
pub(crate) mod capture;
pub(crate) mod chart;
pub(crate) mod driver;
pub(crate) mod gateway;
pub(crate) mod guard;
pub(crate) mod host;
pub(crate) mod link;
pub(crate) mod nat;
pub(crate) mod network;
pub(crate) mod rates;
pub(crate) mod rng;
pub(crate) mod roaming;
pub(crate) mod signalling;
pub(crate) mod stun_server;
pub(crate) mod trace;
pub(crate) mod turn_auth;
pub(crate) mod turn_server;
pub(crate) mod wire;

use core::cell::{RefCell, RefMut};
use core::time::Duration;
use std::net::SocketAddr;

use floe::stun::LongTerm;
use floe::{Instant, Server, Transport};

use crate::world::call::Call;
use crate::world::host::Host;
use crate::world::link::Link;
use crate::world::nat::Nat;
pub(crate) use crate::world::network::{Fate, Node, Packet};
use crate::world::network::{INTERNET, Inner};
use crate::world::rng::Rng;
use crate::world::stun_server::{StunServer, Temper};
use crate::world::turn_auth::{Auth, PASSWORD, USER};
use crate::world::turn_server::{Faults, Heard, TurnServer};

/// When every world begins: not at zero, which no clock promises.
pub(crate) const BEGINNING: Instant = Instant::from_millis(1_000_000);

/// The seed of this test: `SIM_SEED` if it is set, else one that is made from the test's name.
macro_rules! seed {
    () => {{
        fn here() {}
        $crate::world::Seed::of(::core::any::type_name_of_val(&here))
    }};
}

/// What a world is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed(pub(crate) u64);

impl Seed {
    pub(crate) fn of(name: &str) -> Self {
        match std::env::var("SIM_SEED") {
            Ok(text) => Self(match text.strip_prefix("0x") {
                Some(hex) => u64::from_str_radix(hex, 16).expect("SIM_SEED is a number"),
                None => text.parse().expect("SIM_SEED is a number"),
            }),
            Err(_) => Self(crate::world::rng::hash(name.as_bytes())),
        }
    }
}

/// `n` seconds.
pub(crate) const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// `n` milliseconds.
pub(crate) const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A simulated world; all handles borrow it.
pub(crate) struct World {
    inner: RefCell<Inner>,
}

impl World {
    pub(crate) fn new(seed: Seed) -> Self {
        let Seed(seed) = seed;
        Self { inner: RefCell::new(Inner::new(seed)) }
    }

    pub(crate) fn inner(&self) -> RefMut<'_, Inner> {
        self.inner.borrow_mut()
    }

    /// A host on the public Internet with one IPv4 address, until it is told otherwise.
    pub(crate) fn host(&self) -> Host<'_> {
        Host::new(self)
    }

    /// A network without a way out, until it is put behind a NAT.
    pub(crate) fn lan(&self) -> Lan<'_> {
        Lan { world: self, zone: self.inner().new_zone() }
    }

    /// A STUN server on the Internet, of both families.
    pub(crate) fn stun(&self, address: &str) -> Stun<'_> {
        let address: SocketAddr = address.parse().expect("an address and port");
        let mut inner = self.inner();
        let id = inner.servers.len();
        let v6 = format!("2001:db8:fffe::{:x}", id + 1).parse().unwrap();
        let addresses = [address, SocketAddr::new(v6, address.port())];
        for address in addresses {
            inner.own(INTERNET, address.ip(), Node::Server(id));
        }
        inner.servers.push(StunServer { addresses, temper: Temper::Honest, asked: 0 });
        Stun { world: self, id }
    }

    /// A TURN server on the Internet, with addresses and relays of both families.
    pub(crate) fn turn(&self, address: &str) -> Turn<'_> {
        let address: SocketAddr = address.parse().expect("an address and port");
        let mut inner = self.inner();
        let id = inner.turns.len();
        let v6 = format!("2001:db8:ffff::{:x}", id + 1).parse().unwrap();
        let relays = vec![address.ip(), v6];
        for ip in &relays {
            inner.own(INTERNET, *ip, Node::Turn(id));
        }
        let rng = Rng::new(inner.seed, &format!("turn {id}"));
        inner.turns.push(TurnServer::new(address, relays, rng));
        Turn { world: self, id }
    }

    /// `left` calls `right`: from now on the signalling runs by itself.
    pub(crate) fn call<'w>(&'w self, left: Host<'w>, right: Host<'w>) -> Call<'w> {
        Call::new(self, left, right)
    }

    /// The time since the world began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.inner().now.since(BEGINNING)
    }

    /// Runs until `condition` holds, at most for `limit`, and returns how long it took.
    pub(crate) fn run_until(&self, condition: impl Fn() -> bool, limit: Duration) -> Duration {
        let start = self.inner().now;
        let end = start + limit;
        while !condition() {
            if !self.inner().step(end) {
                panic!("it did not happen within {limit:?}");
            }
        }
        self.inner().now.since(start)
    }

    /// Runs until `condition` holds or `limit` is over; says which.
    pub(crate) fn happens(&self, condition: impl Fn() -> bool, limit: Duration) -> bool {
        let end = self.inner().now + limit;
        while !condition() {
            if !self.inner().step(end) {
                self.inner().now = end;
                return false;
            }
        }
        true
    }

    /// Runs for `duration`.
    pub(crate) fn run_for(&self, duration: Duration) {
        self.happens(|| false, duration);
    }

    /// Changes every link, in both directions.
    pub(crate) fn links(&self, change: impl Fn(&mut Link)) {
        self.inner().links.change_all(change);
    }

    /// Changes the link from `from` to `to` alone.
    pub(crate) fn link(
        &self,
        from: impl Into<Node>,
        to: impl Into<Node>,
        change: impl FnOnce(&mut Link),
    ) {
        self.inner().links.change(from.into(), to.into(), change);
    }

    /// Lets nothing pass between the two any more.
    pub(crate) fn cut(&self, a: impl Into<Node>, b: impl Into<Node>) {
        let (a, b) = (a.into(), b.into());
        self.link(a, b, |link| link.cut = true);
        self.link(b, a, |link| link.cut = true);
    }

    /// Undoes [`World::cut`].
    pub(crate) fn heal(&self, a: impl Into<Node>, b: impl Into<Node>) {
        let (a, b) = (a.into(), b.into());
        self.link(a, b, |link| link.cut = false);
        self.link(b, a, |link| link.cut = false);
    }

    /// Holds back what the two send to one another, and lets it all arrive when `time` is over.
    pub(crate) fn clog(&self, a: impl Into<Node>, b: impl Into<Node>, time: Duration) {
        let (a, b, until) = (a.into(), b.into(), self.inner().now + time);
        self.link(a, b, |link| link.clogged_until = Some(until));
        self.link(b, a, |link| link.clogged_until = Some(until));
    }

    /// Shows every packet to `hook`, which decides about it.
    pub(crate) fn intercept(&self, hook: impl FnMut(Instant, &Packet) -> Fate + 'static) {
        self.inner().hooks.push(Box::new(hook));
    }

    /// Removes all hooks.
    pub(crate) fn stop_intercepting(&self) {
        self.inner().hooks.clear();
    }

    /// The packets that hooks took out of the world, with the zone each was to arrive in.
    pub(crate) fn held(&self) -> Vec<(usize, Packet)> {
        self.inner().held.clone()
    }

    /// Lets `packet` arrive in `zone` now.
    pub(crate) fn inject(&self, zone: usize, packet: Packet) {
        self.inner().deliver(zone, packet);
    }

    /// Wakes every host early and twice from now on, which must change nothing.
    pub(crate) fn nag(&self) {
        self.inner().nagging = true;
    }

    /// How many datagrams hosts have sent.
    pub(crate) fn packets(&self) -> u64 {
        self.inner().packets
    }

    /// Compares what the hosts say of themselves with what was seen of them; the end of a world
    /// does it too.
    pub(crate) fn audit(&self) {
        self.inner().audited = true;
        self.inner().audit();
    }

    /// Somebody else told what was wrong: no audit follows.
    pub(crate) fn needs_no_audit(&self) {
        self.inner().audited = true;
    }

    /// The hash of everything that happened.
    pub(crate) fn trace(&self) -> u64 {
        self.inner().trace.hash()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.inner.try_borrow().map(|inner| inner.seed);
            if let Ok(seed) = seed {
                eprintln!("replay with SIM_SEED={seed:#x}, and SIM_TRACE=1 to see every packet");
            }
        } else if !self.inner().audited {
            self.audit();
        }
    }
}

/// A network of hosts that see one another.
#[derive(Clone, Copy)]
pub(crate) struct Lan<'w> {
    pub(crate) world: &'w World,
    pub(crate) zone: usize,
}

impl Lan<'_> {
    /// Puts the network behind a NAT on the Internet.
    pub(crate) fn behind(self, nat: Nat) -> Self {
        self.world.inner().add_gateway([self.zone, INTERNET], Some(nat), None, false);
        self
    }

    /// Puts a NAT between this network and another one.
    pub(crate) fn behind_within(self, nat: Nat, outer: Lan<'_>) -> Self {
        self.world.inner().add_gateway([self.zone, outer.zone], Some(nat), None, false);
        self
    }
}

/// A STUN server.
#[derive(Clone, Copy)]
pub(crate) struct Stun<'w> {
    world: &'w World,
    pub(crate) id: usize,
}

impl Stun<'_> {
    pub(crate) fn that_is(self, temper: Temper) -> Self {
        self.world.inner().servers[self.id].temper = temper;
        self
    }

    /// How many requests arrived.
    pub(crate) fn asked(self) -> usize {
        self.world.inner().servers[self.id].asked
    }
}

/// A TURN server.
#[derive(Clone, Copy)]
pub(crate) struct Turn<'w> {
    pub(crate) world: &'w World,
    pub(crate) id: usize,
}

impl Turn<'_> {
    fn read<T>(self, read: impl FnOnce(&TurnServer, Instant) -> T) -> T {
        let inner = self.world.inner();
        read(&inner.turns[self.id], inner.now)
    }

    /// Changes what is wrong with the server.
    pub(crate) fn faulty(self, change: impl FnOnce(&mut Faults)) -> Self {
        change(&mut self.world.inner().turns[self.id].faults);
        self
    }

    /// Changes how the server knows its users.
    pub(crate) fn auth(self, change: impl FnOnce(&mut Auth)) -> Self {
        change(&mut self.world.inner().turns[self.id].auth);
        self
    }

    /// Changes anything else about the server.
    pub(crate) fn change(self, change: impl FnOnce(&mut TurnServer)) -> Self {
        change(&mut self.world.inner().turns[self.id]);
        self
    }

    pub(crate) fn address(self) -> SocketAddr {
        self.read(|turn, _| turn.address)
    }

    /// How much of a kind arrived from clients.
    pub(crate) fn heard(self, what: Heard) -> u64 {
        self.read(|turn, _| turn.heard(what))
    }

    /// How much arrived from clients.
    pub(crate) fn heard_in_all(self) -> u64 {
        self.read(|turn, _| turn.heard_in_all())
    }

    /// The allocations that live.
    pub(crate) fn allocations(self) -> usize {
        self.read(TurnServer::allocations)
    }

    /// How often the server was restarted.
    pub(crate) fn restarts(self) -> u32 {
        self.read(|turn, _| turn.restarts)
    }

    /// The permissions and the channels that live.
    pub(crate) fn peers(self) -> (usize, usize) {
        self.read(TurnServer::peers)
    }

    /// Datagrams that were relayed to peers, and from them.
    pub(crate) fn relayed(self) -> [u64; 2] {
        self.read(|turn, _| turn.relayed)
    }

    /// Datagrams that no permission allowed.
    pub(crate) fn unpermitted(self) -> u64 {
        self.read(|turn, _| turn.unpermitted)
    }

    /// The server sends data of a peer that never had a permission to all its clients.
    pub(crate) fn smuggles(self, peer: SocketAddr, data: &[u8]) {
        let mut inner = self.world.inner();
        let out = inner.turns[self.id].smuggle(peer, data);
        inner.turn_sends(self.id, out);
    }
}

impl From<Turn<'_>> for Node {
    fn from(turn: Turn<'_>) -> Self {
        Self::Turn(turn.id)
    }
}

/// A server that a host may use.
pub(crate) enum AnyServer<'w> {
    Stun(Stun<'w>),
    Turn(Turn<'w>),
}

impl AnyServer<'_> {
    /// The server as a client knows it, by its first address.
    pub(crate) fn describe(&self) -> Server {
        self.described().swap_remove(0)
    }

    /// The server as a client knows it, by each of its addresses.
    pub(crate) fn described(&self) -> Vec<Server> {
        match self {
            Self::Stun(stun) => {
                let addresses = stun.world.inner().servers[stun.id].addresses;
                addresses.map(|address| Server::stun(address).in_group(stun.id as u32)).to_vec()
            }
            Self::Turn(turn) => {
                let describe = |address| {
                    let credentials = LongTerm::new(USER.as_bytes(), PASSWORD.as_bytes()).unwrap();
                    let server = Server::turn(address, Transport::Udp, credentials);
                    server.in_group(1_000 + turn.id as u32)
                };
                turn.read(|turn, _| turn.addresses()).into_iter().map(describe).collect()
            }
        }
    }
}

impl<'w> From<Stun<'w>> for AnyServer<'w> {
    fn from(stun: Stun<'w>) -> Self {
        Self::Stun(stun)
    }
}

impl<'w> From<Turn<'w>> for AnyServer<'w> {
    fn from(turn: Turn<'w>) -> Self {
        Self::Turn(turn)
    }
}

impl From<Stun<'_>> for Node {
    fn from(stun: Stun<'_>) -> Self {
        Self::Server(stun.id)
    }
}
