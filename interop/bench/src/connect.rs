//! Two agents meet, in virtual time: how soon, with how many packets, at what cost.

use std::time::{Duration, Instant};

use crate::agents::floe::Floe;
use crate::agents::is::Is;
use crate::agents::rice::Rice;
use crate::agents::rtc::Rtc;
use crate::agents::{Agent, addresses, introduce};
use crate::measure::{Heap, Spread, cpu_micros, instructions};
use crate::network::{Milestones, Network, Path, in_pairs};
use crate::report::{Report, Table};

/// Who does not get so far by then does not connect.
const LIMIT: Duration = Duration::from_secs(60);
const RTT: Duration = Duration::from_millis(50);

/// One meeting of two agents.
#[derive(Clone, Copy)]
pub struct Meeting {
    /// Candidates of each side.
    pub candidates: usize,
    /// What lies between.
    pub path: Path,
    /// When to give up.
    pub limit: Duration,
}

/// How a meeting went, the controlling side first. Times are since the descriptions were applied.
pub struct Outcome {
    /// When each side could send.
    pub sendable: [Option<Duration>; 2],
    /// When each side knew its pair.
    pub selected: [Option<Duration>; 2],
    /// Packets of both sides until then.
    pub packets: u64,
    /// Octets of both sides until then.
    pub octets: u64,
    /// How often a drained agent wanted to be called at once.
    pub stuck: u64,
}

impl Outcome {
    /// When both could send, in milliseconds.
    pub fn both_sendable(&self) -> Option<f64> {
        Some(millis(self.sendable[0]?.max(self.sendable[1]?)))
    }

    /// When both knew their pair, in milliseconds.
    pub fn both_selected(&self) -> Option<f64> {
        Some(millis(self.selected[0]?.max(self.selected[1]?)))
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Lets two agents meet, until both know their pair.
pub fn meet<A: Agent>(meeting: &Meeting) -> Outcome {
    meet_on::<A>(&mut Network::new(meeting.path, 2), meeting)
}

fn meet_on<A: Agent>(network: &mut Network, meeting: &Meeting) -> Outcome {
    let start = Instant::now();
    let [left, right] = [1, 2].map(|side| addresses(side, meeting.candidates));
    let mut agents = introduce::<A>(start, &left, &right);
    network.start(&mut agents, start, in_pairs);
    let until = start + meeting.limit;
    while !network.is_complete() && network.step(&mut agents, until, in_pairs).is_some() {}
    let both = |milestone: fn(&Milestones) -> Option<Instant>| {
        [0, 1].map(|side| milestone(&network.milestones[side]).map(|time| time - start))
    };
    Outcome {
        sendable: both(|milestones| milestones.sendable),
        selected: both(|milestones| milestones.selected),
        packets: network.packets,
        octets: network.octets,
        stuck: network.stuck,
    }
}

/// A row of the tables.
struct Row {
    name: &'static str,
    outcome: Outcome,
    cpu_micros: Vec<f64>,
    allocations: u64,
    instructions: Option<u64>,
}

fn measure<A: Agent>(meeting: &Meeting, quick: bool) -> Row {
    let mut network = Network::new(meeting.path, 2);
    let before = Heap::now();
    let outcome = meet_on::<A>(&mut network, meeting);
    let allocations = (Heap::now() - before).allocations;
    let begun = Instant::now();
    let repeats = if quick { 3 } else { 31 };
    let mut cpu = Vec::with_capacity(repeats);
    while cpu.len() < repeats && begun.elapsed() < Duration::from_secs(3) {
        let mut network = Network::new(meeting.path, 2);
        let start = cpu_micros();
        meet_on::<A>(&mut network, meeting);
        cpu.push(cpu_micros() - start);
    }
    let work = || {
        meet::<A>(meeting);
    };
    let is_small = meeting.candidates == 1 && !quick;
    let instructions = is_small.then(|| instructions(work)).flatten();
    Row { name: A::NAME, outcome, cpu_micros: cpu, allocations, instructions }
}

fn print(meeting: &Meeting, row: &Row) {
    let count = meeting.candidates;
    let which = if meeting.path.only.is_some() { " last pair only" } else { "" };
    let Outcome { sendable, selected, packets, octets, .. } = &row.outcome;
    Table::row(&[
        &format!("({count},{count}){which}"),
        row.name,
        &both(sendable),
        &both(selected),
        &packets.to_string(),
        &octets.to_string(),
        &Spread::show(&row.cpu_micros, 0),
        &row.instructions
            .map_or_else(|| "—".into(), |count| format!("{:.2} M", count as f64 / 1e6)),
        &row.allocations.to_string(),
    ]);
}

fn both(times: &[Option<Duration>; 2]) -> String {
    times.map(|time| time.map_or("—".into(), |time| format!("{:.1}", millis(time)))).join(" / ")
}

const COLUMNS: [&str; 9] = [
    "candidates",
    "crate",
    "sendable, virtual ms: controlling / controlled",
    "selected, virtual ms: controlling / controlled",
    "packets of both",
    "octets",
    "CPU µs, both agents with their set-up",
    "instructions",
    "allocations",
];

/// Runs the section.
pub fn run(report: &mut Report) {
    report.section("Connecting in virtual time (RTT 50 ms, no loss, all candidates known at once)");
    Table::begin(&COLUMNS);
    for candidates in [1, 4, 10, 30] {
        every_pair_works(report, candidates);
    }
    for candidates in [4, 10] {
        last_pair_works(report, candidates);
    }
    println!("\n(1,1), both sendable / both selected, virtual ms, by RTT in ms:\n");
    by_rtt(report);
}

fn every_pair_works(report: &mut Report, candidates: usize) {
    let meeting = Meeting { candidates, path: Path::with_rtt(RTT), limit: LIMIT };
    let quick = report.quick;
    let floe = measure::<Floe>(&meeting, quick);
    print(&meeting, &floe);
    let mut peers = vec![measure::<Is>(&meeting, quick), measure::<Rtc>(&meeting, quick)];
    // Half a second for each meeting of 30 by 30.
    if !quick || candidates < 30 {
        peers.push(measure::<Rice>(&meeting, quick));
    }
    peers.iter().for_each(|peer| print(&meeting, peer));

    let pairs = format!("({candidates},{candidates})");
    let sendable = floe.outcome.both_sendable();
    report.gate(&format!("{pairs} both sendable, virtual ms"), sendable, millis(RTT));
    report.gate(
        &format!("{pairs} deadlines in the past after a drain"),
        Some(floe.outcome.stuck as f64),
        0.0,
    );
    // What they are today: a guard against more.
    let packets = if candidates == 1 { 10.0 } else { 25.0 };
    let name = format!("{pairs} packets of both until selected");
    report.gate(&name, Some(floe.outcome.packets as f64), packets);
    if candidates == 1 {
        sendable_headline(report, &floe, &peers);
    }
    if candidates == 30 {
        cpu_headline(report, &floe, &peers);
    }
}

fn sendable_headline(report: &mut Report, floe: &Row, peers: &[Row]) {
    let time = |row: &Row| row.outcome.both_sendable().unwrap_or(f64::INFINITY);
    let best = peers.iter().min_by(|a, b| time(a).total_cmp(&time(b))).expect("peers");
    report.headline(
        "both ends sendable, one pair, RTT 50 ms, virtual time",
        &format!("{:.0} ms ({})", time(best), best.name),
        "50 ms",
        &format!("{:.0} ms", time(floe)),
        "1 RTT",
    );
}

fn cpu_headline(report: &mut Report, floe: &Row, peers: &[Row]) {
    let cpu = |row: &Row| Spread::of(&row.cpu_micros).map_or(f64::INFINITY, |spread| spread.median);
    let best = peers.iter().min_by(|a, b| cpu(a).total_cmp(&cpu(b))).expect("peers");
    let cell = |row: &Row| format!("{:.0} µs, {} allocations", cpu(row), row.allocations);
    report.headline(
        "connecting 30 × 30 candidates, CPU of both agents",
        &format!("{} ({})", cell(best), best.name),
        "≈ 30 µs",
        &cell(floe),
        "≤ 150 µs",
    );
}

fn last_pair_works(report: &mut Report, candidates: usize) {
    let path = Path { only: Some(candidates - 1), ..Path::with_rtt(RTT) };
    let meeting = Meeting { candidates, path, limit: LIMIT };
    let quick = report.quick;
    let floe = [measure::<Floe>(&meeting, quick), measure::<Floe<5>>(&meeting, quick)];
    floe.iter().for_each(|row| print(&meeting, row));
    let peers = [
        measure::<Is>(&meeting, quick),
        measure::<Is<5>>(&meeting, quick),
        measure::<Rtc>(&meeting, quick),
        measure::<Rice>(&meeting, quick),
        measure::<Rice<5>>(&meeting, quick),
    ];
    peers.iter().for_each(|peer| print(&meeting, peer));

    for (row, ta_millis) in floe.iter().zip([20, 5]) {
        let limit = (ta_millis * candidates * candidates) as f64 + millis(RTT);
        let name = format!(
            "({candidates},{candidates}) last pair only, {}: both sendable, virtual ms",
            row.name
        );
        report.gate(&name, row.outcome.both_sendable(), limit);
    }
    if candidates == 10 {
        let time = |row: &Row| {
            row.outcome.both_sendable().map_or("—".into(), |time| format!("{time:.0} ms"))
        };
        report.headline(
            "10 × 10 candidates, only the last pair works, both propose Ta 5 ms",
            &format!(
                "{} ({}; rtc-ice does not pace: {})",
                time(&peers[1]),
                peers[1].name,
                time(&peers[2])
            ),
            "550 ms (Ta × pairs + RTT)",
            &time(&floe[1]),
            "≤ 550 ms",
        );
    }
}

/// In microseconds.
const RTTS: [u64; 6] = [100, 2_000, 20_000, 50_000, 100_000, 200_000];

fn by_rtt(report: &mut Report) {
    Table::begin(&["crate", "0.1", "2", "20", "50", "100", "200"]);
    for (rtt, outcome) in RTTS.into_iter().zip(rtt_row::<Floe>()) {
        let rtt = rtt as f64 / 1e3;
        let name = format!("(1,1) RTT {rtt} ms: both sendable, virtual ms");
        report.gate(&name, outcome.both_sendable(), rtt);
    }
    rtt_row::<Is>();
    rtt_row::<Is<5>>();
    rtt_row::<Rice>();
    rtt_row::<Rice<5>>();
    rtt_row::<Rtc>();
}

fn rtt_row<A: Agent>() -> [Outcome; RTTS.len()] {
    let outcomes = RTTS.map(|rtt| {
        let path = Path::with_rtt(Duration::from_micros(rtt));
        meet::<A>(&Meeting { candidates: 1, path, limit: LIMIT })
    });
    let show = |time: Option<f64>| time.map_or("—".into(), |time| format!("{time:.1}"));
    let cells = outcomes.each_ref().map(|outcome| {
        format!("{} / {}", show(outcome.both_sendable()), show(outcome.both_selected()))
    });
    println!("| {} | {} |", A::NAME, cells.join(" | "));
    outcomes
}
