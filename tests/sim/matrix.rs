//! Every pair of NATs, firewalls and open hosts: real agents do as well as the oracle says, in time.
//!
//! The worst of each cell is kept in `tests/sim/MATRIX.md`.

use core::fmt::Write as _;
use core::time::Duration;
use std::path::Path;

use floe::candidate::CandidateKind;
use floe::config::{Mode, Role};

use crate::oracle::{Class, Kinds, Verdict, judge};
use crate::topology::{AddressKind, Interface, Network, Party, Place, Topology};
use crate::world::call::Call;
use crate::world::host::Host;
use crate::world::nat::{Depends, Hairpin, Nat, Ports, Scope};
use crate::world::{Seed, World, millis, secs};

const ALL: [Depends; 3] = [Depends::Independent, Depends::Address, Depends::AddressAndPort];
pub(crate) const INTERNET: Network =
    Network { outer: Some(Place::Internet), nat: None, firewall: None, blocks_udp: false };

/// A round trip between any two in the world as it is by default.
const RTT: Duration = millis(50);
/// How long a message of the signalling takes; the second is what the table tells of.
const SIGNALLING: [Duration; 3] = [millis(0), millis(25), millis(300)];
/// The pace that both sides propose.
const TA: Duration = millis(20);
/// Two requests to servers start at least so long after one another.
const FLOOR: Duration = millis(5);

/// No NAT, with an open door and two firewalls, then mapping × filtering: twelve in all.
pub(crate) fn classes(scope: Scope) -> Vec<Network> {
    let firewall = |depends| match depends {
        Depends::Independent => INTERNET,
        other => Network { firewall: Some(other), ..INTERNET },
    };
    // Each port assignment once: neither helps a path to be found.
    let ports = match scope {
        Scope::Endpoint => Ports::Random,
        Scope::Mapping => Ports::Sequential,
    };
    let nat = |mapping, filtering| Network {
        nat: Some(Nat { scope, ports, ..Nat::new(mapping, filtering) }),
        ..INTERNET
    };
    let nats = ALL.into_iter().flat_map(|m| ALL.into_iter().map(move |f| nat(m, f)));
    ALL.into_iter().map(firewall).chain(nats).collect()
}

/// Two parties in networks of their own; `turns` says who has a TURN server.
pub(crate) fn facing(networks: [Network; 2], kind: AddressKind, turns: [bool; 2]) -> Topology {
    let party = |n: usize| Party {
        interfaces: vec![Interface { place: Place::Network(n), kind }],
        stun: true,
        turns: turns[n].then_some(n).into_iter().collect(),
        relay_only: false,
    };
    Topology { networks: networks.to_vec(), turns: 2, parties: [party(0), party(1)] }
}

/// What became of a call.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// When both sides could send.
    pub(crate) connected: Option<Duration>,
    pub(crate) kinds: Option<[Kinds; 2]>,
    pub(crate) hops: [usize; 2],
    pub(crate) agree: bool,
}

/// How a call is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// The role of the first party, who calls.
    pub(crate) caller: Role,
    pub(crate) signalling: Duration,
}

pub(crate) fn manners() -> impl Iterator<Item = Manner> {
    let roles = [Role::Controlling, Role::Controlled].into_iter();
    roles.flat_map(|caller| SIGNALLING.map(|signalling| Manner { caller, signalling }))
}

pub(crate) fn run<'w>(
    world: &'w World,
    hosts: [Host<'w>; 2],
    manner: Manner,
) -> (Call<'w>, Outcome) {
    let [left, right] = hosts;
    let callee = match manner.caller {
        Role::Controlling => Role::Controlled,
        Role::Controlled => Role::Controlling,
    };
    let call = world.call(left, right).without_restarts().signalling(manner.signalling);
    let call = call.role(left, manner.caller).role(right, callee);
    let connected = world.happens(call.both_sendable(), secs(60)).then(|| world.elapsed());
    let mut outcome = Outcome { connected, kinds: None, hops: [0; 2], agree: false };
    if connected.is_some() && world.happens(call.completed(), secs(5)) {
        // A direct path that is found later is moved to.
        world.run_for(secs(2));
        outcome.agree = call.agree();
        outcome.kinds = Some([left, right].map(|host| call.pair(host).kinds()));
        outcome.hops = [left, right].map(|host| call.hops(host));
    }
    (call, outcome)
}

/// When both sides know all candidates of each other at the latest: the callee begins to gather
/// when the offer is there, and a TURN server is asked twice.
fn all_signalled(topology: &Topology, signalling: Duration) -> Duration {
    let gathering = |party: &Party| {
        let trips = if party.turns.is_empty() { 1 } else { 2 };
        let requests = party.interfaces.len() * (1 + 2 * party.turns.len());
        RTT * trips + FLOOR * requests as u32
    };
    let [caller, callee] = &topology.parties;
    (gathering(caller) + signalling).max(signalling + gathering(callee) + signalling)
}

/// When both sides can send at the latest.
pub(crate) fn deadline(
    topology: &Topology,
    verdict: &Verdict,
    signalling: Duration,
) -> Option<Duration> {
    Some(all_signalled(topology, signalling) + verdict.time_to_connect(RTT, TA)?)
}

/// What is wrong with an outcome.
pub(crate) fn faults(verdict: &Verdict, limit: Option<Duration>, outcome: &Outcome) -> Vec<String> {
    let mut faults = Vec::new();
    let hops = match verdict.class {
        Class::None => {
            let met = outcome.connected.map(|at| format!("connected after {at:?}"));
            return met.into_iter().collect();
        }
        Class::Direct => 0,
        Class::OneRelay => 1,
        Class::TwoRelays => 2,
    };
    match outcome.connected {
        None => return vec!["did not connect".into()],
        at if at > limit => faults.push(format!("connected at {at:?}, not by {limit:?}")),
        Some(_) => {}
    }
    if !outcome.agree {
        faults.push("the sides do not agree".into());
    }
    if outcome.hops != [hops; 2] {
        faults.push(format!("{:?} relays, not {hops}", outcome.hops));
    }
    if !outcome.kinds.is_some_and(|kinds| verdict.admits(&kinds)) {
        faults.push(format!("{:?} is none of {:?}", outcome.kinds, verdict.kinds));
    }
    faults
}

/// The worst that was seen, of one class of path.
#[derive(Clone, Copy, Debug, Default)]
struct Worst {
    took: Duration,
    limit: Duration,
}

/// All runs so far, and what was wrong with them.
#[derive(Debug, Default)]
struct Book {
    runs: usize,
    wrong: Vec<String>,
}

impl Book {
    /// Runs a topology in every manner.
    fn runs(&mut self, name: &str, topology: &Topology) -> (Verdict, Worst) {
        let verdict = judge(topology);
        let mut worst = Worst::default();
        for manner in manners() {
            let name = format!("{name}, {manner:?}");
            let world = World::new(Seed::of(&name));
            let (call, outcome) = run(&world, topology.build(&world), manner);
            let limit = deadline(topology, &verdict, manner.signalling);
            let mut faults = faults(&verdict, limit, &outcome);
            if verdict.class == Class::None && !call.both_failed()() {
                faults.push("not failed after a minute".into());
            }
            self.runs += 1;
            self.wrong.extend(faults.into_iter().map(|fault| format!("{name}: {fault}")));
            let told = manner.signalling == SIGNALLING[1];
            if let (Some(took), Some(limit), true) = (outcome.connected, limit, told) {
                worst = if took > worst.took { Worst { took, limit } } else { worst };
            }
        }
        (verdict, worst)
    }

    /// Runs a cell with a TURN server at neither side, at one, and at both, and describes it.
    fn cell(&mut self, name: &str, networks: [Network; 2], kind: AddressKind) -> String {
        let (alone, worst) = self.runs(name, &facing(networks, kind, [false; 2]));
        let mut relayed = Worst::default();
        for turns in [[true, false], [false, true], [true, true]] {
            let name = format!("{name}, TURN {turns:?}");
            let (verdict, worst) = self.runs(&name, &facing(networks, kind, turns));
            let expected = if alone.class == Class::None { Class::OneRelay } else { alone.class };
            assert_eq!(verdict.class, expected, "{name}");
            relayed = if worst.took > relayed.took { worst } else { relayed };
        }
        match alone.class {
            Class::None => format!("relay {}", time(relayed)),
            Class::Direct | Class::OneRelay | Class::TwoRelays => {
                format!("{} {}", kinds(&alone), time(worst))
            }
        }
    }
}

fn time(worst: Worst) -> String {
    format!("{}/{}", worst.took.as_millis(), worst.limit.as_millis())
}

fn kinds(verdict: &Verdict) -> String {
    let short = |kind| match kind {
        CandidateKind::Host => "host",
        CandidateKind::ServerReflexive => "srflx",
        CandidateKind::PeerReflexive => "prflx",
        CandidateKind::Relayed => "relay",
    };
    let pairs: Vec<String> = verdict
        .kinds
        .iter()
        .map(|[(left, right), _]| format!("{}–{}", short(*left), short(*right)))
        .collect();
    if pairs.is_empty() { "none".into() } else { pairs.join(" or ") }
}

fn name(network: &Network) -> String {
    let short = |depends| match depends {
        Depends::Independent => "EI",
        Depends::Address => "AD",
        Depends::AddressAndPort => "APD",
    };
    match (&network.nat, network.firewall) {
        (Some(nat), _) => format!("{}M/{}F", short(nat.mapping), short(nat.filtering)),
        (None, None) => "open".into(),
        (None, Some(filtering)) => format!("{}F", short(filtering)),
    }
}

const HEAD: &str = "# What meets whom

Made by `FLOE_BLESS=1 cargo test --test sim matrix`; the test fails when it is stale.

Two parties, the row calls the column. Each cell was run with the caller controlling and controlled,
with signalling that takes 0, 25 and 300 ms, and with a TURN server at neither side, at either and at
both. In each run the outcome, the number of relays, the candidate types on both sides and the time
until both could send were what the oracle (`tests/sim/oracle/`) allows, and both sides selected the
ends of one path.

A cell says which types of candidates the direct path has, the row's first, or `relay` where there
is none: then one relay is used if either side has a TURN server, and both sides fail after the PAC
timer if neither has. Then the worst time from the start of the call until both can send, and the
oracle's bound for that run, in ms, where each way takes 25 ms, also that of the signalling. Where
the bound is above half a second and the path is direct, a check may have to be sent again, as the
other side's NAT lets nothing in before its own.

EI, AD and APD: endpoint-independent, address-dependent, address- and port-dependent; M: mapping,
F: filtering (RFC 4787); F alone: a firewall that translates nothing.
";

#[test]
fn every_cell_does_as_well_as_can_be_and_in_time() {
    let mut book = Book::default();
    let mut made = String::from(HEAD);
    for (title, scope, kind) in [
        ("IPv4, filters by inner endpoint", Scope::Endpoint, AddressKind::V4),
        ("IPv4, filters by mapping", Scope::Mapping, AddressKind::V4),
        ("IPv6, firewalls", Scope::Endpoint, AddressKind::V6),
    ] {
        let mut classes = classes(scope);
        classes.retain(|network| kind == AddressKind::V4 || network.nat.is_none());
        let names: Vec<String> = classes.iter().map(name).collect();
        write!(made, "\n## {title}\n\n| | {} |\n", names.join(" | ")).unwrap();
        writeln!(made, "|---{}|", "|---".repeat(names.len())).unwrap();
        for left in &classes {
            let cells: Vec<String> = classes
                .iter()
                .map(|right| {
                    let cell = format!("{title}: {} - {}", name(left), name(right));
                    book.cell(&cell, [*left, *right], kind)
                })
                .collect();
            writeln!(made, "| **{}** | {} |", name(left), cells.join(" | ")).unwrap();
        }
    }
    made.push_str(&specials(&mut book));
    let Book { runs, wrong } = book;
    assert!(wrong.is_empty(), "{} of {runs} runs: {wrong:#?}", wrong.len());
    writeln!(made, "\n{runs} runs.").unwrap();
    is_fresh("tests/sim/MATRIX.md", &made);
}

/// Asserts that a file is what was made.
fn is_fresh(file: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("FLOE_BLESS").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let line = 1 + made.lines().zip(kept.lines()).take_while(|(a, b)| a == b).count();
    assert!(
        made == kept,
        "\n{file} is stale from line {line} on.\n\
         What to do: FLOE_BLESS=1 cargo test --test sim matrix, look at the difference, commit it.\n"
    );
}

/// What the square does not show.
fn specials(book: &mut Book) -> String {
    let mut made = String::from("\n## Other networks\n\n| | pair | time |\n|---|---|---|\n");
    for (name, topology) in other_networks() {
        let (verdict, worst) = book.runs(name, &topology);
        let time = if verdict.class == Class::None { "–".into() } else { time(worst) };
        writeln!(made, "| {name} | {} | {time} |", kinds(&verdict)).unwrap();
    }
    made
}

/// Two homes that share a carrier's NAT.
fn on_one_carrier(carrier: Nat, turns: [bool; 2]) -> Topology {
    let home =
        Network { nat: Some(Nat::PORT_RESTRICTED), outer: Some(Place::Network(2)), ..INTERNET };
    let mut topology = facing([home, home], AddressKind::V4, turns);
    topology.networks.push(Network { nat: Some(carrier), ..INTERNET });
    topology
}

/// A home behind a carrier's NAT calls one that is not.
fn behind_a_carrier(carrier: Nat, turns: [bool; 2]) -> Topology {
    let mut topology = on_one_carrier(carrier, turns);
    topology.networks[1].outer = Some(Place::Internet);
    topology
}

fn other_networks() -> Vec<(&'static str, Topology)> {
    let behind = |nat| Network { nat: Some(nat), ..INTERNET };
    let cone = behind(Nat::PORT_RESTRICTED);
    let blocked = Network { blocks_udp: true, ..cone };
    let preserving = behind(Nat { ports: Ports::Preserve, ..Nat::SYMMETRIC });
    let v4 = |networks, turns| facing(networks, AddressKind::V4, turns);
    let on_lan = |hairpin| {
        let mut topology = v4([behind(Nat::SYMMETRIC.with_hairpin(hairpin)), INTERNET], [true; 2]);
        topology.parties[1].interfaces[0].place = Place::Network(0);
        topology
    };
    let dual = |firewall: Network| {
        let mut topology = v4([firewall, firewall], [false; 2]);
        for (n, party) in topology.parties.iter_mut().enumerate() {
            let place = Place::Network(n);
            party.interfaces.push(Interface { place, kind: AddressKind::V6 });
        }
        topology
    };
    let strict = Network { firewall: Some(Depends::AddressAndPort), ..behind(Nat::SYMMETRIC) };
    let loops = |hairpin| Nat::FULL_CONE.with_hairpin(hairpin);
    vec![
        (
            "home behind a carrier EIM/EIF calls EIM/APDF",
            behind_a_carrier(Nat::FULL_CONE, [false; 2]),
        ),
        (
            "home behind a carrier APDM/APDF calls EIM/APDF",
            behind_a_carrier(Nat::SYMMETRIC, [false; 2]),
        ),
        ("the same, TURN at the caller", behind_a_carrier(Nat::SYMMETRIC, [true, false])),
        (
            "homes on one carrier without hairpinning",
            on_one_carrier(loops(Hairpin::None), [false; 2]),
        ),
        ("the same, TURN at the callee", on_one_carrier(loops(Hairpin::None), [false, true])),
        (
            "homes on one carrier that hairpins from outer addresses",
            on_one_carrier(loops(Hairpin::External), [false; 2]),
        ),
        (
            "homes on one carrier that hairpins from inner addresses",
            on_one_carrier(loops(Hairpin::Internal), [false; 2]),
        ),
        ("both on one LAN behind APDM/APDF without hairpinning", on_lan(Hairpin::None)),
        ("the same with hairpinning from inner addresses", on_lan(Hairpin::Internal)),
        ("APDM/APDF on IPv4 and a firewall APDF on IPv6, both sides", dual(strict)),
        ("port-preserving APDM/APDF calls EIM/APDF", v4([preserving, cone], [false; 2])),
        ("the same, TURN at both", v4([preserving, cone], [true; 2])),
        ("UDP blocked calls open, UDP to TURN at both", v4([blocked, INTERNET], [true; 2])),
        ("open calls UDP blocked, UDP to TURN at both", v4([INTERNET, blocked], [true; 2])),
    ]
}

/// A lite host on the Internet only answers, and is met from behind everything that lets answers
/// in.
#[test]
fn a_lite_host_is_met_from_everywhere() {
    for network in classes(Scope::Mapping) {
        let topology = facing([network, INTERNET], AddressKind::V4, [false; 2]);
        let verdict = judge(&topology);
        let world = World::new(Seed::of(&name(&network)));
        let [left, right] = topology.build(&world);
        let call = world.call(left, right).tune(right, |config| config.mode = Mode::Lite);

        let took = world.run_until(call.completed(), secs(5));
        // The lite side may send once a pair is nominated.
        let limit = deadline(&topology, &verdict, Duration::ZERO).unwrap() + RTT;
        assert!(took <= limit, "{}: {took:?}, not {limit:?}", name(&network));
        assert!(call.agree(), "{}", name(&network));
        let (local, remote) = call.pair(left).kinds();
        assert!(verdict.kinds.iter().any(|[(_, to), _]| *to == remote), "{}", name(&network));
        assert_ne!(local, CandidateKind::Relayed);
    }
}
