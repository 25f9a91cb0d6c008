//! Drawing a scenario. Which kinds of fault are on at all is drawn first: a run with few of them
//! goes deeper into each.

use core::time::Duration;

use crate::scenario::{Clock, Draw, Far, Scenario, SideConfig, Signalling, Step, Verb};
use crate::topology::{AddressKind, Interface, Network, Party, Place, Topology};
use crate::world::link::{Bandwidth, Bursts, Link};
use crate::world::nat::{Depends, Hairpin, Nat, Pooling, Ports, Reboot, Scope};
use crate::world::{millis, secs};

/// The most verbs of a script.
const VERBS: u64 = 20;
/// The most restarts of a script: each side allows ten of the other's in five minutes, and those
/// that the agents recommend count too.
const RESTARTS: usize = 3;

const DEPENDS: [Depends; 3] = [Depends::Independent, Depends::Address, Depends::AddressAndPort];

impl Scenario {
    pub(crate) fn draw(draw: &mut Draw<'_>) -> Self {
        let seed = draw.seed();
        draw.about("topology");
        let topology = topology(draw);
        draw.about("links");
        let links = links(draw);
        draw.about("signalling");
        let signalling = signalling(draw);
        draw.about("config");
        let mut sides = [side(draw), side(draw)];
        for (side, party) in sides.iter_mut().zip(&topology.parties) {
            // A lite agent is for those who can be reached. [rfc8445-A-1]
            let public = party.interfaces.iter().all(|i| i.place == Place::Internet);
            side.lite &= public && !party.relay_only;
        }
        if sides[0].lite {
            sides[1].lite = false;
        }
        let components = if draw.chance(5) { 2 } else { 1 };
        let vanilla = draw.chance(15);
        let nagging = draw.chance(15);
        let lateness = if draw.chance(15) { draw.time(1, 50) } else { Duration::ZERO };
        draw.about("script");
        let mut script = script(draw, &topology);
        // A lite agent follows a peer that moved only once that one nominates again, which a NAT that
        // reboots during a nomination can keep it from hearing of.
        if sides.iter().any(|side| side.lite) {
            script.retain(|step| !matches!(step.verb, Verb::RebootNat(..)));
        }
        Self {
            seed,
            topology,
            links,
            signalling,
            sides,
            components,
            vanilla,
            nagging,
            lateness,
            script,
            planted: None,
        }
    }
}

fn topology(draw: &mut Draw<'_>) -> Topology {
    let mut networks = Vec::new();
    let turns = draw.pick(&[0, 1, 1, 2]);
    let shared = draw.chance(10).then(|| network(draw, &mut networks, Place::Internet));
    let parties = [0, 1].map(|_| {
        let mut place = match shared {
            Some(place) => place,
            None if draw.chance(75) => network(draw, &mut networks, Place::Internet),
            None => Place::Internet,
        };
        for _ in 0..2 {
            if place != Place::Internet && draw.chance(12) {
                place = network(draw, &mut networks, place);
            }
        }
        party(draw, &mut networks, place, turns)
    });
    Topology { networks, turns, parties }
}

fn party(draw: &mut Draw<'_>, networks: &mut Vec<Network>, place: Place, turns: usize) -> Party {
    let mut interfaces = vec![Interface { place, kind: AddressKind::V4 }];
    if draw.chance(20) {
        interfaces.push(Interface { place, kind: AddressKind::V6 });
        let more = [AddressKind::V6Temporary, AddressKind::V6Deprecated, AddressKind::V6Local];
        for kind in more {
            if draw.chance(20) {
                interfaces.push(Interface { place, kind });
            }
        }
    }
    if draw.chance(20) {
        // A second interface, as that of a mobile network.
        let other = network(draw, networks, Place::Internet);
        interfaces.push(Interface { place: other, kind: AddressKind::V4 });
    }
    let stun = !draw.chance(10);
    let turns: Vec<usize> = (0..turns).filter(|_| !draw.chance(30)).collect();
    let relay_only = !turns.is_empty() && draw.chance(5);
    Party { interfaces, stun, turns, relay_only }
}

fn network(draw: &mut Draw<'_>, networks: &mut Vec<Network>, outer: Place) -> Place {
    let nat = (!draw.chance(8)).then(|| nat(draw));
    let firewall = draw.chance(25).then(|| draw.pick(&DEPENDS));
    let blocks_udp = draw.chance(2);
    networks.push(Network { outer: Some(outer), nat, firewall, blocks_udp });
    Place::Network(networks.len() - 1)
}

fn nat(draw: &mut Draw<'_>) -> Nat {
    let mut nat = Nat::new(draw.pick(&DEPENDS), draw.pick(&DEPENDS));
    nat.ports = draw.pick(&[
        Ports::Random,
        Ports::Preserve,
        Ports::Sequential,
        Ports::Stepping(-2),
        Ports::Parity,
        Ports::Contiguous,
    ]);
    if draw.chance(10) {
        nat.addresses = 2;
        nat.pooling = draw.pick(&[Pooling::Paired, Pooling::Arbitrary]);
    }
    nat.scope = draw.pick(&[Scope::Endpoint, Scope::Endpoint, Scope::Mapping]);
    nat.timeout = draw.pick(&[secs(120), secs(30), secs(300)]);
    nat.unreplied = draw.chance(25).then(|| secs(30));
    nat.inbound_refreshes = draw.chance(50);
    nat.icmp_kills = draw.chance(10);
    nat.hairpin = draw.pick(&[Hairpin::None, Hairpin::External, Hairpin::Internal]);
    nat
}

fn links(draw: &mut Draw<'_>) -> Link {
    let mut link = Link { delay: draw.time(1, 120), ..Link::default() };
    if draw.chance(40) {
        link.loss = draw.share(30);
    }
    if draw.chance(20) {
        link.jitter = draw.time(0, 60);
    }
    if draw.chance(15) {
        let (quiet, bad) = (draw.time(500, 10_000), draw.time(10, 1_500));
        link.bursts = Some(Bursts { quiet, bad, loss: draw.share(100) });
    }
    if draw.chance(10) {
        let rate = draw.pick(&[1_000_000, 256_000, 64_000]);
        link.bandwidth = Some(Bandwidth { rate, queue: draw.pick(&[65_536, 8_192]) });
    }
    if draw.chance(10) {
        link.mtu = Some(draw.pick(&[1_280, 576]));
    }
    if draw.chance(15) {
        link.duplicate = draw.share(20);
    }
    if draw.chance(15) {
        link.reorder = draw.share(30);
    }
    if draw.chance(10) {
        link.corrupt = draw.share(5);
    }
    link
}

fn signalling(draw: &mut Draw<'_>) -> Signalling {
    let mut signalling = Signalling { delay: draw.time(0, 300), ..Signalling::default() };
    if draw.chance(10) {
        signalling.delay = draw.time(0, 4_000);
    }
    if draw.chance(20) {
        signalling.jitter = draw.time(0, 1_000);
    }
    if draw.chance(10) {
        signalling.loss = draw.share(30);
    }
    if draw.chance(10) {
        signalling.duplicate = draw.share(50);
    }
    if draw.chance(10) {
        signalling.candidates_late = draw.time(0, 5_000);
    }
    if draw.chance(10) {
        signalling.candidates_lost = draw.share(100);
    }
    if draw.chance(10) {
        signalling.stale = draw.share(100);
    }
    signalling.endless = draw.chance(5);
    signalling
}

fn side(draw: &mut Draw<'_>) -> SideConfig {
    SideConfig {
        wrong_role: draw.chance(10),
        lite: draw.chance(8),
        half_trickle: draw.chance(8),
        no_backup: draw.chance(15),
        strict_consent: draw.chance(10),
        rfc_backoff: draw.chance(10),
        no_renomination: draw.chance(15),
        continual: draw.chance(40),
        ta: draw.pick(&[0, 0, 0, 5, 50, 100]),
    }
}

/// A kind of fault, which a run has or has not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    Restarts,
    Nats,
    Stun,
    Turn,
    Paths,
    Icmp,
    Interfaces,
    Drivers,
    Loss,
    Traffic,
    Signalling,
    Close,
}

fn script(draw: &mut Draw<'_>, topology: &Topology) -> Vec<Step> {
    use Fault::{
        Close, Drivers, Icmp, Interfaces, Loss, Nats, Paths, Restarts, Signalling, Stun, Traffic,
        Turn,
    };
    let all =
        [Restarts, Nats, Stun, Turn, Paths, Icmp, Interfaces, Drivers, Loss, Traffic, Signalling];
    let mut on: Vec<Fault> = all.into_iter().filter(|_| draw.chance(35)).collect();
    if draw.chance(4) {
        on.push(Close);
    }
    let mut steps = Vec::new();
    let mut restarts = 0;
    let verbs = if on.is_empty() { 0 } else { draw.below(VERBS + 1) };
    for _ in 0..verbs {
        let at = match draw.below(3) {
            0 => draw.time(0, 1_500),
            1 => draw.time(0, 10_000),
            _ => draw.time(0, 50_000),
        };
        let fault = draw.pick(&on);
        let verb = verb(draw, fault, topology);
        if matches!(verb, Verb::Restart(_) | Verb::RestartBoth) {
            restarts += 1;
            if restarts > RESTARTS {
                continue;
            }
        }
        steps.push(Step { at, verb });
        if fault == Close {
            on.retain(|other| *other != Close);
            if on.is_empty() {
                break;
            }
        }
    }
    steps.sort_by_key(|step| step.at);
    steps
}

fn verb(draw: &mut Draw<'_>, fault: Fault, topology: &Topology) -> Verb {
    let side = draw.below(2) as usize;
    let turn = draw.below(topology.turns.max(1) as u64) as usize;
    match fault {
        Fault::Restarts => draw.pick(&[Verb::Restart(side), Verb::RestartBoth]),
        Fault::Nats => {
            let network = draw.below(topology.networks.len() as u64) as usize;
            let kinds = [Reboot::NewPorts, Reboot::SamePorts, Reboot::NewAddress];
            Verb::RebootNat(network, draw.pick(&kinds))
        }
        Fault::Stun => draw.pick(&[Verb::StunDies, Verb::StunRecovers]),
        Fault::Turn => draw.pick(&[
            Verb::TurnRestarts(turn),
            Verb::TurnDies(turn),
            Verb::TurnRecovers(turn),
            Verb::TurnForgetsPermissions(turn),
            Verb::TurnForgetsChannels(turn),
            Verb::TurnDiesForEver(turn),
        ]),
        Fault::Paths => {
            let far = draw.pick(&[Far::Peer, Far::Peer, Far::Turn(turn), Far::Stun]);
            let clogged = draw.time(100, 8_000);
            draw.pick(&[
                Verb::Heal(side, far),
                Verb::Cut(side, far),
                Verb::CutOutwards(side, far),
                Verb::Clog(side, far, clogged),
            ])
        }
        Fault::Icmp => Verb::Unreachable(side, draw.time(1, 8_000)),
        Fault::Interfaces => {
            let interface = draw.below(3) as usize;
            let beside = topology.parties[side].interfaces[0].place;
            draw.pick(&[
                Verb::NetworkChanged(side),
                Verb::Unplug(side, interface),
                Verb::Join(side, beside),
                Verb::Join(side, Place::Internet),
                Verb::Leave(side, interface),
                Verb::Renumber(side, interface),
            ])
        }
        Fault::Drivers => {
            let (long, short) = (draw.time(100, 60_000), draw.time(10, 4_000));
            let share = draw.share(100);
            draw.pick(&[
                Verb::StandStill(side, short),
                Verb::Sleep(side, long, Clock::GoesOn),
                Verb::Sleep(side, long, Clock::Stops),
                Verb::SetClockBack(side, short),
                Verb::Refuse(side, share, short),
            ])
        }
        Fault::Loss => Verb::LossBurst(draw.share(90), draw.time(100, 10_000)),
        Fault::Traffic => {
            let interval = millis(draw.pick(&[200, 100, 40]));
            draw.pick(&[Verb::Talk(side, interval), Verb::Hush(side)])
        }
        Fault::Signalling => {
            let time = draw.time(100, 8_000);
            draw.pick(&[Verb::SignallingDies(time), Verb::SignallingWaits(time)])
        }
        Fault::Close => Verb::Close(side),
    }
}
