//! What a host's driver and system do to its endpoint: they wake it late, sleep, set the clock, lose
//! interfaces without a word and refuse to send.

use core::time::Duration;
use std::collections::BTreeSet;
use std::net::IpAddr;

use floe::Instant;

use crate::world::host::Host;
use crate::world::network::{Inner, Packet, What};
use crate::world::rng::Rng;

/// Datagrams that wait in the socket buffers of a process that does not run.
const SOCKET_BUFFER: usize = 256;

/// How a host is driven; exactly, unless it is told otherwise.
#[derive(Debug)]
pub(crate) struct Driver {
    /// It is woken up to this much late, uniformly.
    late: Duration,
    /// The share of wakings before which the process stands still for a time.
    stalls: (f64, Duration),
    /// The share of datagrams that the system refuses to send.
    refused: f64,
    /// Whether the endpoint is told of them.
    pub(crate) refusals_are_told: bool,
    mute: BTreeSet<IpAddr>,
    deaf: BTreeSet<IpAddr>,
    asleep: Option<Sleep>,
    /// How far its clock is behind.
    behind: Duration,
    /// The latest that its clock said.
    pub(crate) latest: Instant,
    rng: Rng,
}

#[derive(Debug)]
struct Sleep {
    since: Instant,
    until: Instant,
    /// How many datagrams wait until it is over.
    room: usize,
    waiting: Vec<Packet>,
    clock_stops: bool,
}

impl Driver {
    pub(crate) const fn new(rng: Rng) -> Self {
        Self {
            late: Duration::ZERO,
            stalls: (0.0, Duration::ZERO),
            refused: 0.0,
            refusals_are_told: false,
            mute: BTreeSet::new(),
            deaf: BTreeSet::new(),
            asleep: None,
            behind: Duration::ZERO,
            latest: Instant::ZERO,
            rng,
        }
    }

    pub(crate) fn is_mute(&self, ip: IpAddr) -> bool {
        self.mute.contains(&ip)
    }

    /// Whether the system refuses to send the next datagram.
    pub(crate) fn refuses(&mut self) -> bool {
        self.rng.chance(self.refused)
    }
}

impl Inner {
    /// What the clock of a host says now, for who tells its endpoint at once: the guard counts from
    /// the latest.
    pub(crate) fn clock(&mut self, host: usize) -> Instant {
        let driver = &mut self.hosts[host].driver;
        let stopped = driver.asleep.as_ref().filter(|sleep| sleep.clock_stops);
        let since = stopped.map_or(self.now, |sleep| sleep.since).since(Instant::ZERO);
        let now = Instant::ZERO + since.saturating_sub(driver.behind);
        driver.latest = driver.latest.max(now);
        now
    }

    /// When a host wakes that wants to be woken when its clock says `at`.
    pub(crate) fn wakes_at(&mut self, host: usize, at: Instant) -> Instant {
        let driver = &mut self.hosts[host].driver;
        let late = if driver.late.is_zero() { 0.0 } else { driver.rng.unit() };
        at + driver.behind + driver.late.mul_f64(late)
    }

    /// Whether a host does not hear its alarm: it sleeps, or stands still from now on.
    pub(crate) fn oversleeps(&mut self, host: usize) -> bool {
        let driver = &mut self.hosts[host].driver;
        let (share, time) = driver.stalls;
        if driver.asleep.is_none() && driver.rng.chance(share) {
            self.suspend(host, time, SOCKET_BUFFER, false);
        }
        self.is_asleep(host).is_some()
    }

    /// Until when a host sleeps.
    pub(crate) fn is_asleep(&self, host: usize) -> Option<Instant> {
        self.hosts[host].driver.asleep.as_ref().map(|sleep| sleep.until)
    }

    /// Gives a datagram back if the host can hear it; else it waits or is lost.
    pub(crate) fn is_awake_for(&mut self, host: usize, packet: Packet) -> Option<Packet> {
        let driver = &mut self.hosts[host].driver;
        if driver.deaf.contains(&packet.to.ip()) {
            return None;
        }
        let Some(sleep) = &mut driver.asleep else { return Some(packet) };
        if sleep.waiting.len() < sleep.room {
            sleep.waiting.push(packet);
        }
        None
    }

    /// A host does nothing for a time.
    pub(crate) fn suspend(&mut self, host: usize, time: Duration, room: usize, clock_stops: bool) {
        let (since, until) = (self.now, self.now + time);
        match &mut self.hosts[host].driver.asleep {
            Some(sleep) => sleep.until = sleep.until.max(until),
            asleep @ None => {
                *asleep = Some(Sleep { since, until, room, waiting: Vec::new(), clock_stops });
            }
        }
        self.schedule(until, What::Thaw { host });
    }

    /// A sleep may be over: the host finds timers that are due and datagrams that wait, in one
    /// order or the other.
    pub(crate) fn host_thaws(&mut self, host: usize) {
        let now = self.now;
        let driver = &mut self.hosts[host].driver;
        let Some(sleep) = driver.asleep.take_if(|sleep| sleep.until <= now) else { return };
        if sleep.clock_stops {
            driver.behind += now.since(sleep.since);
        }
        let timers_first = driver.rng.chance(0.5);
        if timers_first {
            self.rings(host);
        }
        for packet in sleep.waiting {
            self.host_receives(host, packet);
        }
        if !timers_first {
            self.rings(host);
        }
    }

    /// Wakes an endpoint, whatever it asked for.
    fn rings(&mut self, host: usize) {
        if self.hosts[host].endpoint.is_none() {
            return;
        }
        let now = self.clock(host);
        self.hosts[host].wake_at = None;
        self.hosts[host].endpoint().handle_timeout(now);
        self.settle(host);
    }

    /// Nothing goes out of or into the interface `ip` any more, and nobody is told.
    pub(crate) fn unplug(&mut self, host: usize, ip: IpAddr) {
        let driver = &mut self.hosts[host].driver;
        driver.mute.insert(ip);
        driver.deaf.insert(ip);
    }
}

impl Host<'_> {
    fn driver(self, change: impl FnOnce(&mut Driver)) -> Self {
        change(&mut self.world.inner().hosts[self.id].driver);
        self
    }

    /// The host is woken up to this much late, uniformly.
    pub(crate) fn wakes_late(self, up_to: Duration) -> Self {
        self.driver(|driver| driver.late = up_to)
    }

    /// Before this share of its wakings the host's process stands still for a time, while
    /// datagrams wait in its sockets.
    pub(crate) fn stalls(self, share: f64, time: Duration) -> Self {
        self.driver(|driver| driver.stalls = (share, time))
    }

    /// The host's process stands still from now on, while datagrams wait in its sockets.
    pub(crate) fn stands_still(self, time: Duration) {
        self.world.inner().suspend(self.id, time, SOCKET_BUFFER, false);
    }

    /// The host is suspended: what arrives is lost, no timer fires, and signals wait.
    pub(crate) fn sleeps(self, time: Duration) {
        self.world.inner().suspend(self.id, time, 0, false);
    }

    /// The host is suspended, and its clock stands still with it.
    pub(crate) fn sleeps_with_its_clock(self, time: Duration) {
        self.world.inner().suspend(self.id, time, 0, true);
    }

    /// The host's clock jumps backwards. One that sleeps finds out when it wakes.
    pub(crate) fn sets_its_clock_back(self, by: Duration) {
        let mut inner = self.world.inner();
        inner.hosts[self.id].driver.behind += by;
        inner.hosts[self.id].wake_at = None;
        if inner.hosts[self.id].endpoint.is_some() && inner.is_asleep(self.id).is_none() {
            inner.settle(self.id);
        }
    }

    /// The system refuses to send this share of the host's datagrams.
    pub(crate) fn refuses_to_send(self, share: f64) -> Self {
        self.driver(|driver| driver.refused = share)
    }

    /// As [`Host::refuses_to_send`], and the endpoint hears that nothing leads there.
    pub(crate) fn knows_no_way_for(self, share: f64) -> Self {
        self.refuses_to_send(share).driver(|driver| driver.refusals_are_told = true)
    }

    /// Nothing leaves the interface any more, and nobody is told.
    pub(crate) fn mutes(self, ip: IpAddr) {
        self.driver(|driver| {
            driver.mute.insert(ip);
        });
    }

    /// Nothing enters the interface any more, and nobody is told.
    pub(crate) fn deafens(self, ip: IpAddr) {
        self.driver(|driver| {
            driver.deaf.insert(ip);
        });
    }

    /// Undoes all that was done to an interface without a word.
    pub(crate) fn plugs_in(self, ip: IpAddr) {
        self.driver(|driver| {
            driver.mute.remove(&ip);
            driver.deaf.remove(&ip);
        });
    }
}
