//! Playing a scenario: the script with all faults, and then the judgement.

use core::cell::RefCell;
use core::time::Duration;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::rc::Rc;

use floe::config::{
    BackupPolicy, CandidatePolicy, CheckBackoff, ConsentMode, Gathering, Mode, Role, Trickle,
};

use crate::scenario::{Report, Scenario, Signalling, Violation};
use crate::topology::{Interface, Topology};
use crate::world::call::Call;
use crate::world::host::Host;
use crate::world::link::Link;
use crate::world::rng::Rng;
use crate::world::signalling::Signal;
use crate::world::{BEGINNING, World, millis, secs};

/// How long the world is left alone with its faults after the last verb: no path is clogged longer.
const AFTERMATH: Duration = secs(10);

/// How much later a candidate is said again.
const STALE: Duration = secs(20);

/// What is wrong with the signalling, as the hook of the call sees it.
pub(super) struct Trouble {
    signalling: Signalling,
    rng: Rng,
    pub(super) dead: bool,
    /// Whether any message was lost.
    pub(super) lost: bool,
}

impl Trouble {
    /// When each copy of a message arrives.
    fn copies(&mut self, signal: &Signal) -> Vec<Duration> {
        let Signalling {
            jitter,
            loss,
            duplicate,
            candidates_late,
            candidates_lost,
            stale,
            endless,
            ..
        } = self.signalling;
        let rng = &mut self.rng;
        let (candidate, end) =
            (matches!(signal, Signal::Candidate { .. }), matches!(signal, Signal::End { .. }));
        let missing = (candidate && rng.chance(candidates_lost)) || (end && endless);
        if self.dead || rng.chance(loss) || missing {
            self.lost = true;
            return Vec::new();
        }
        let late = if candidate || end { candidates_late } else { Duration::ZERO };
        // What came after the end of candidates would be none: it overtakes nothing.
        let after = |rng: &mut Rng| {
            let share = rng.unit();
            late + jitter.mul_f64(if end { 1.0 } else { share })
        };
        let mut copies = vec![after(rng)];
        if rng.chance(duplicate) {
            copies.push(after(rng) + millis(1));
        }
        if candidate && rng.chance(stale) {
            copies.push(late + STALE);
        }
        copies
    }

    /// From now on everything arrives, in order.
    pub(super) fn heal(&mut self) {
        self.signalling = Signalling::default();
        self.dead = false;
    }
}

/// What ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ending {
    Loss,
    Unreachable(usize),
    Refusals(usize),
    SignallingDeath,
}

/// An interface of a side, from when it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Port {
    pub(super) interface: Interface,
    pub(super) ip: IpAddr,
    pub(super) is_there: bool,
}

/// A scenario under way.
pub(super) struct Stage<'w> {
    pub(super) world: &'w World,
    pub(super) scenario: &'w Scenario,
    pub(super) call: Call<'w>,
    pub(super) hosts: [Host<'w>; 2],
    pub(super) trouble: Rc<RefCell<Trouble>>,
    pub(super) closed: [bool; 2],
    /// What is lost for ever.
    pub(super) dead_turns: BTreeSet<usize>,
    /// The interfaces of the sides, those that are gone too.
    pub(super) ports: [Vec<Port>; 2],
    pub(super) endings: Vec<(Duration, Ending)>,
    connected: Option<Duration>,
}

pub(super) fn play(world: &World, scenario: &Scenario) -> Result<Report, Violation> {
    let mut stage = Stage::set(world, scenario);
    for step in &scenario.script {
        stage.run_until(step.at);
        stage.perform(step.verb);
    }
    stage.run_until(world.elapsed() + AFTERMATH);
    let class = stage.judge()?;
    Ok(Report {
        virtual_time: world.elapsed(),
        packets: world.packets(),
        class,
        connected: stage.connected,
        trace: world.trace(),
    })
}

impl<'w> Stage<'w> {
    fn set(world: &'w World, scenario: &'w Scenario) -> Self {
        // Nothing but its checksum keeps a flipped bit of a server's refusal from being believed.
        world.links(|link| *link = Link { corrupt: 0.0, ..scenario.links });
        let hosts = scenario.topology.build(world);
        for [from, to] in [hosts, [hosts[1], hosts[0]]] {
            world.link(from, to, |link| link.corrupt = scenario.links.corrupt);
        }
        let trouble = Rc::new(RefCell::new(Trouble {
            signalling: scenario.signalling,
            rng: Rng::new(scenario.seed, "scenario signalling faults"),
            dead: false,
            lost: false,
        }));
        if scenario.nagging {
            world.nag();
        }
        let hosts = hosts
            .map(|host| host.with_streams(&[scenario.components]).wakes_late(scenario.lateness));
        let mut call = world.call(hosts[0], hosts[1]).signalling(scenario.signalling.delay);
        if scenario.vanilla {
            call = call.vanilla();
        }
        let of_hook = Rc::clone(&trouble);
        call = call.deliver_signals(move |_, signal| of_hook.borrow_mut().copies(signal));
        for side in [0, 1] {
            call = configure(call, scenario, side, hosts[side]);
        }
        let ports = [0, 1].map(|side| {
            let interfaces = scenario.topology.parties[side].interfaces.iter().copied();
            let port = |(interface, ip)| Port { interface, ip, is_there: true };
            interfaces.zip(hosts[side].addresses()).map(port).collect()
        });
        Self {
            world,
            scenario,
            call,
            hosts,
            trouble,
            closed: [false; 2],
            dead_turns: BTreeSet::new(),
            ports,
            endings: Vec::new(),
            connected: None,
        }
    }

    /// Runs until `at` since the beginning, and ends what ends before.
    pub(super) fn run_until(&mut self, at: Duration) {
        loop {
            self.endings.sort();
            let Some(&(when, ending)) = self.endings.first().filter(|(when, _)| *when <= at) else {
                break;
            };
            self.endings.remove(0);
            self.pass(when);
            self.end(ending);
        }
        self.pass(at);
    }

    fn pass(&mut self, at: Duration) {
        self.happens(|| false, at.saturating_sub(self.world.elapsed()));
    }

    /// Runs until `condition` holds or `limit` is over; says which.
    pub(super) fn happens(&mut self, condition: impl Fn() -> bool, limit: Duration) -> bool {
        let end = self.world.elapsed() + limit;
        if self.connected.is_none() {
            let (call, sendable) = (self.call, self.call.both_sendable());
            if !self.world.happens(|| sendable() || condition(), limit) {
                return false;
            }
            if sendable() {
                self.connected = call.connected_after();
            }
        }
        self.world.happens(condition, end.saturating_sub(self.world.elapsed()))
    }

    /// The topology without what is lost for ever, and with what joined. A lite agent has no relays.
    pub(super) fn healed(&self) -> Topology {
        let mut topology = self.scenario.topology.clone();
        for (side, party) in topology.parties.iter_mut().enumerate() {
            let lite = self.scenario.sides[side].lite;
            party.turns.retain(|turn| !lite && !self.dead_turns.contains(turn));
            let there = self.ports[side].iter().filter(|port| port.is_there);
            party.interfaces = there.map(|port| port.interface).collect();
        }
        topology
    }

    /// Heals all that is not lost for ever.
    pub(super) fn heal(&mut self) {
        self.endings.clear();
        for host in self.hosts {
            host.refuses_to_send(0.0);
            let asleep = self.world.inner().is_asleep(host.id);
            if let Some(until) = asleep {
                self.pass(until.since(BEGINNING));
            }
        }
        self.trouble.borrow_mut().heal();
        let delay = self.scenario.links.delay;
        self.world.links(|link| *link = Link { delay, ..Link::default() });
        let mut inner = self.world.inner();
        inner.calls[0].delay = self.scenario.signalling.delay.min(millis(300));
        for server in &mut inner.servers {
            server.temper = crate::world::stun_server::Temper::Honest;
        }
        for (id, turn) in inner.turns.iter_mut().enumerate() {
            turn.faults.dead = self.dead_turns.contains(&id);
        }
        for side in &mut inner.calls[0].sides {
            side.talking = false;
        }
    }
}

fn configure<'w>(call: Call<'w>, scenario: &Scenario, side: usize, host: Host<'w>) -> Call<'w> {
    let config = scenario.sides[side];
    let components = scenario.components;
    let relay_only = scenario.topology.parties[side].relay_only;
    let call = call.tune(host, move |agent| {
        agent.streams = vec![components];
        if relay_only {
            agent.policy = CandidatePolicy::Relay;
        }
        if config.lite {
            agent.mode = Mode::Lite;
        }
        if config.half_trickle {
            agent.trickle = Trickle::Half;
        }
        if config.no_backup {
            agent.backup = BackupPolicy::Off;
        }
        if config.strict_consent {
            agent.consent = ConsentMode::Strict;
        }
        if config.rfc_backoff {
            agent.check_backoff = CheckBackoff::Rfc;
        }
        if config.continual {
            agent.gathering = Gathering::Continual;
        }
        if config.no_renomination {
            agent.nomination.renomination = false;
        }
        if config.ta > 0 {
            agent.ta = millis(config.ta.into());
        }
    });
    let role = match (config.wrong_role, side) {
        (false, _) => return call,
        (true, 0) => Role::Controlled,
        (true, _) => Role::Controlling,
    };
    call.role(host, role)
}
