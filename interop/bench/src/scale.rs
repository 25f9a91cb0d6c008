//! Many connected agents at rest: heap and CPU of an agent that only keeps its consent.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::agents::floe::Floe;
use crate::agents::is::Is;
use crate::agents::null::Null;
use crate::agents::rice::Rice;
use crate::agents::rtc::Rtc;
use crate::agents::sfu::{Party, Sfu};
use crate::agents::{Agent, Packet, Role};
use crate::measure::{Heap, cpu_micros};
use crate::network::{Network, Path, in_pairs};
use crate::report::{Report, Table};

const RTT: Duration = Duration::from_millis(50);
/// Connected and past what follows a nomination.
const SETTLE: Duration = Duration::from_secs(10);
/// At rest, in seconds.
const REST: u64 = 60;
/// The address of the first agent: 10.0.0.0.
const FIRST_ADDRESS: u32 = 0x0a00_0000;

/// What an agent at rest costs.
struct Cost {
    name: String,
    agents: usize,
    connected: usize,
    set_up_micros: f64,
    heap: f64,
    cpu_micros: f64,
    packets: f64,
    allocations: f64,
}

impl Cost {
    fn print(&self) {
        Table::row(&[
            &self.agents.to_string(),
            &self.name,
            &self.connected.to_string(),
            &format!("{:.0}", self.set_up_micros),
            &format!("{:.0}", self.heap),
            &format!("{:.3}", self.cpu_micros),
            &format!("{:.3}", self.packets),
            &format!("{:.2}", self.allocations),
        ]);
    }
}

fn address(index: usize) -> SocketAddr {
    (Ipv4Addr::from(FIRST_ADDRESS + index as u32), 5000).into()
}

/// The heap that `value` holds, in octets.
fn heap_of<T>(value: T) -> f64 {
    let before = Heap::now().live;
    drop(value);
    (before - Heap::now().live) as f64
}

fn in_pairs_of<A: Agent>(count: usize) -> Cost {
    let start = Instant::now();
    let mut network = Network::new(Path::with_rtt(RTT), count);
    let set_up = cpu_micros();
    let role = |index| if index % 2 == 0 { Role::Controlling } else { Role::Controlled };
    let mut agents: Vec<A> = Vec::with_capacity(count);
    agents.extend((0..count).map(|index| A::new(start, role(index), &[address(index)])));
    for index in 0..count {
        let remote = agents[index ^ 1].description();
        agents[index].set_remote(start, &remote);
    }
    network.start(&mut agents, start, in_pairs);
    network.run(&mut agents, start + SETTLE, in_pairs);
    let connected =
        agents.iter_mut().filter_map(|agent| agent.readiness().selected.then_some(())).count();
    let rest = Rest::begin(&network);
    network.run(&mut agents, start + SETTLE + Duration::from_secs(REST), in_pairs);
    let agent_seconds = (count as u64 * REST) as f64;
    Cost {
        name: A::NAME.into(),
        agents: count,
        connected,
        set_up_micros: (rest.cpu_micros - set_up) / count as f64,
        cpu_micros: (cpu_micros() - rest.cpu_micros) / agent_seconds,
        packets: (network.packets - rest.packets) as f64 / agent_seconds,
        allocations: (Heap::now() - rest.heap).allocations as f64 / agent_seconds,
        heap: heap_of(agents) / count as f64,
    }
}

/// The counters when the rest begins.
struct Rest {
    cpu_micros: f64,
    packets: u64,
    heap: Heap,
}

impl Rest {
    fn begin(network: &Network) -> Self {
        Self { cpu_micros: cpu_micros(), packets: network.packets, heap: Heap::now() }
    }
}

/// All agents of one side in one endpoint on one socket; each has a client with its own endpoint.
/// The heap is that of the shared endpoint alone, the CPU that of all agents of both sides.
fn on_one_socket(count: usize) -> Cost {
    let start = Instant::now();
    let mut network = Network::new(Path::with_rtt(RTT), count + 1);
    let set_up = cpu_micros();
    let mut parties = Sfu::with_clients(start, count, address);
    let route = |from: usize, packet: &Packet| match (from, packet.to) {
        (0, SocketAddr::V4(client)) => (u32::from(*client.ip()) - FIRST_ADDRESS) as usize,
        _ => 0,
    };
    network.start(&mut parties, start, route);
    // The endpoint as a whole starts a transaction each 5 ms at most, and some for each agent.
    let patience = start + SETTLE + Duration::from_millis(20) * count as u32;
    let mut connected_at = start;
    while !network.is_complete() {
        let Some(now) = network.step(&mut parties, patience, route) else { break };
        connected_at = now;
    }
    let settled = connected_at + SETTLE;
    network.run(&mut parties, settled, route);
    let connected = shared(&mut parties).connected();
    let rest = Rest::begin(&network);
    network.run(&mut parties, settled + Duration::from_secs(REST), route);
    let agent_seconds = (2 * count as u64 * REST) as f64;
    Cost {
        name: "floe, one side in one endpoint on one socket".into(),
        agents: count,
        connected,
        set_up_micros: (rest.cpu_micros - set_up) / (2 * count) as f64,
        cpu_micros: (cpu_micros() - rest.cpu_micros) / agent_seconds,
        packets: (network.packets - rest.packets) as f64 / agent_seconds,
        allocations: (Heap::now() - rest.heap).allocations as f64 / agent_seconds,
        heap: heap_of(parties.swap_remove(0)) / count as f64,
    }
}

fn shared(parties: &mut [Party]) -> &mut Sfu {
    match &mut parties[0] {
        Party::Sfu(sfu) => sfu,
        Party::Client(_) => unreachable!("the shared endpoint is the first party"),
    }
}

/// Runs the section.
pub fn run(report: &mut Report) {
    report.section(&format!("Agents at rest (one pair each, RTT 50 ms, {REST} virtual seconds)"));
    Table::begin(&[
        "agents",
        "crate",
        "connected",
        "set-up and connecting, CPU µs/agent",
        "heap octets/agent",
        "CPU µs per agent-second",
        "packets per agent-second",
        "allocs per agent-second",
    ]);
    let sizes: &[usize] = if report.quick { &[1000] } else { &[1000, 10_000] };
    for &count in sizes {
        one_size(report, count);
    }
    println!(
        "\nThe harness is in every row; the heap of the one socket is that of its side alone. \
         rice-proto sends nothing once connected: no RFC 7675."
    );
}

fn one_size(report: &mut Report, count: usize) {
    let harness = in_pairs_of::<Null>(count);
    let floe = in_pairs_of::<Floe>(count);
    let shared = on_one_socket(count);
    let peers = [in_pairs_of::<Is>(count), in_pairs_of::<Rtc>(count), in_pairs_of::<Rice>(count)];
    [&harness, &floe, &shared].into_iter().chain(&peers).for_each(Cost::print);

    for cost in [&floe, &shared] {
        let name = |what: &str| format!("{}, {count} agents: {what}", cost.name);
        report.gate(&name("not connected"), Some((count - cost.connected) as f64), 0.0);
        report.gate(&name("heap octets per agent"), Some(cost.heap), 2048.0);
    }
    report.gate(
        &format!("floe, {count} agents: allocations per agent-second"),
        Some(floe.allocations),
        0.0,
    );
    if count == 1000 {
        let best = peers.iter().min_by(|a, b| a.heap.total_cmp(&b.heap)).expect("peers");
        let work = "heap of a connected agent at rest";
        let cell = |cost: &Cost| format!("{:.0} octets", cost.heap);
        let floe = format!("{} (one socket for all: {:.0})", cell(&floe), shared.heap);
        report.headline(
            work,
            &format!("{} ({})", cell(best), best.name),
            "≈ 600 octets",
            &floe,
            "≤ 2048 octets",
        );
    } else {
        // rice-proto does nothing at rest.
        let best =
            peers[..2].iter().min_by(|a, b| a.cpu_micros.total_cmp(&b.cpu_micros)).expect("peers");
        let cell =
            |cost: &Cost| format!("{:.2} µs, {:.1} allocations", cost.cpu_micros, cost.allocations);
        let floe = format!("{} (one socket for all: {:.2} µs)", cell(&floe), shared.cpu_micros);
        report.headline(
            "CPU of an agent-second at rest, 10,000 agents, harness included",
            &format!("{} ({})", cell(best), best.name),
            &format!("{:.2} µs (harness)", harness.cpu_micros),
            &floe,
            "≤ 0.5 µs, 0 allocations",
        );
    }
}
