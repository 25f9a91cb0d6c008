//! The swarm: many scenarios, each from its number, all judged.
//!
//! `SWARM_SEEDS` says how many, `SWARM_FIRST` from which on; `SIM_SEED=…` plays one and prints it,
//! `SIM_STEPS=…` as shrunk by those steps.
#![allow(
    clippy::disallowed_methods,
    reason = "it tells how fast it was, by the clock of the machine"
)]

use core::fmt::Write as _;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic;
use std::sync::{Mutex, Once};
use std::time::Instant;

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata, Subscriber, span, subscriber};

use crate::oracle::Class;
use crate::scenario::{Report, Scenario, Step, Verb, Violation, follow, shrink};
use crate::world::rng::hash;
use crate::world::{Seed, millis};

/// Scenarios of an ordinary `cargo test`.
const SEEDS: u64 = 150;
/// How many failing scenarios are shrunk and told of before the swarm stops.
const FAILURES: usize = 3;
/// Runs that shrinking one may take.
const SHRINKING: usize = 400;

thread_local! {
    /// Whether panics of this thread are expected, and told of by somebody else.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Lets panics of this thread be silent while `work` is done.
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
    QUIET.set(true);
    let result = work();
    QUIET.set(false);
    result
}

fn number(name: &str) -> Option<u64> {
    std::env::var_os(name)?;
    // The one place that knows how numbers are written.
    match name {
        "SIM_SEED" => Some(Seed::of("").0),
        _ => std::env::var(name).ok()?.parse().ok(),
    }
}

/// I-6: where nobody is hostile, nobody has to look: a warning of the core's breaks a promise.
struct Alarm;

impl Subscriber for Alarm {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::WARN)
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        panic!("I-6: the core warns: {event:?}");
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Plays a scenario without a word.
fn play(scenario: &Scenario) -> Result<Report, Violation> {
    quietly(|| subscriber::with_default(Alarm, || scenario.run()))
}

#[derive(Default)]
struct Tally {
    virtual_time: Duration,
    packets: u64,
    scenarios: u64,
    /// Times to connect, by what the oracle says.
    connected: BTreeMap<Class, Vec<Duration>>,
    worst: Option<(Duration, u64)>,
    slowest: Option<(Duration, u64)>,
    /// Of all that happened in all of them, in whatever order they were played.
    traces: u64,
}

impl Tally {
    fn add(&mut self, seed: u64, report: &Report, took: Duration) {
        self.virtual_time += report.virtual_time;
        self.packets += report.packets;
        self.scenarios += 1;
        if let Some(connected) = report.connected {
            self.connected.entry(report.class).or_default().push(connected);
            self.worst = self.worst.max(Some((connected, seed)));
        }
        self.slowest = self.slowest.max(Some((took, seed)));
        let run = [seed.to_be_bytes(), report.trace.to_be_bytes()].concat();
        self.traces = self.traces.wrapping_add(hash(&run));
    }

    fn text(&mut self, took: Duration, threads: usize) -> String {
        let mut text = String::new();
        let rate = self.scenarios as f64 / took.as_secs_f64() / threads as f64;
        let hours = self.virtual_time.as_secs_f64() / 3_600.0;
        writeln!(
            text,
            "{} scenarios, {hours:.0} virtual hours, {} packets, {rate:.0} scenarios/s per core",
            self.scenarios, self.packets
        )
        .unwrap();
        for (class, times) in &mut self.connected {
            times.sort();
            let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
            writeln!(
                text,
                "{class:?}: {} connected, p50 {:?}, p90 {:?}, p99 {:?}, worst {:?}",
                times.len(),
                at(0.5),
                at(0.9),
                at(0.99),
                at(1.0)
            )
            .unwrap();
        }
        if let (Some((worst, seed)), Some((slow, of))) = (self.worst, self.slowest) {
            write!(text, "longest to connect {worst:?} (seed {seed}); ").unwrap();
            writeln!(text, "longest to play {slow:?} (seed {of})").unwrap();
        }
        writeln!(text, "traces {:016x}", self.traces).unwrap();
        text
    }
}

/// Plays `scenario`; what it broke, in full, if it did.
fn told(seed: u64, scenario: &Scenario, violation: &Violation) -> String {
    let shrunk = quietly(|| shrink(scenario, violation, SHRINKING));
    let steps: Vec<String> = shrunk.steps.iter().map(usize::to_string).collect();
    let steps = steps.join(",");
    format!(
        "seed {seed} broke {violation}\n{scenario}\nshrunk in {} runs, it breaks {}\n{}\n\
         replay: SIM_SEED={seed} cargo test --test sim swarm, and shrunk: \
         SIM_SEED={seed} SIM_STEPS={steps}; with SIM_TRACE=1 every packet\n",
        shrunk.runs, shrunk.violation, shrunk.scenario
    )
}

/// Plays the seeds with a few threads, and tells of the first that fail.
fn swarm(first: u64, count: u64, threads: usize) {
    let started = Instant::now();
    let next = AtomicU64::new(first);
    let stop = AtomicBool::new(false);
    let failures = Mutex::new(BTreeMap::new());
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count || stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let began = Instant::now();
                    let scenario = Scenario::of_seed(seed);
                    match play(&scenario) {
                        Ok(report) => tally.lock().unwrap().add(seed, &report, began.elapsed()),
                        Err(violation) => {
                            let mut failures = failures.lock().unwrap();
                            failures.insert(seed, violation);
                            let over = failures.len() >= failures_allowed();
                            stop.store(over, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    eprint!("{}", tally.into_inner().unwrap().text(started.elapsed(), threads));
    let failures = failures.into_inner().unwrap();
    for (seed, violation) in &failures {
        eprintln!("{seed}: {violation}");
    }
    for (seed, violation) in failures.iter().take(FAILURES) {
        eprintln!("\n{}", told(*seed, &Scenario::of_seed(*seed), violation));
    }
    assert!(failures.is_empty(), "{} scenarios broke a promise", failures.len());
}

/// How many failures end the swarm: with `SWARM_ALL` none does.
fn failures_allowed() -> usize {
    if std::env::var_os("SWARM_ALL").is_some() { usize::MAX } else { FAILURES }
}

#[test]
fn no_seed_of_the_swarm_breaks_a_promise() {
    if let Some(seed) = number("SIM_SEED") {
        let steps = std::env::var("SIM_STEPS").unwrap_or_default();
        let steps: Vec<usize> = steps.split(',').filter_map(|step| step.parse().ok()).collect();
        let scenario = follow(Scenario::of_seed(seed), &steps);
        eprintln!("{scenario}");
        match scenario.run() {
            Ok(report) => eprintln!("{report:?}"),
            Err(violation) if steps.is_empty() => panic!("{}", told(seed, &scenario, &violation)),
            Err(violation) => panic!("{violation}"),
        }
        return;
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = number("SWARM_THREADS").map_or(cores.min(2), |n| n as usize);
    let first = number("SWARM_FIRST").unwrap_or(0);
    swarm(first, number("SWARM_SEEDS").unwrap_or(SEEDS), threads);
}

/// What was found before is found no more.
#[test]
fn no_seed_that_once_failed_breaks_a_promise() {
    for line in include_str!("seeds.txt").lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(seed) = line.split_whitespace().next() else { continue };
        let steps = line.split_whitespace().nth(1).unwrap_or_default();
        let steps: Vec<usize> = steps.split(',').filter_map(|step| step.parse().ok()).collect();
        let scenario = follow(Scenario::of_seed(seed.parse().expect("a seed")), &steps);
        if let Err(violation) = play(&scenario) {
            panic!("seed {line}: {violation}\n{scenario}");
        }
    }
}

#[test]
fn a_warning_of_the_core_is_a_violation() {
    let warns = || subscriber::with_default(Alarm, || tracing::warn!("somebody should look"));
    assert!(quietly(|| panic::catch_unwind(warns)).is_err());
}

#[test]
fn the_same_seed_is_the_same_run_to_the_octet() {
    for seed in 0..10 {
        let [first, second] = [0, 1].map(|_| Scenario::of_seed(seed).run().map(|run| run.trace));
        assert_eq!(first, second, "seed {seed}");
    }
}

#[test]
fn a_failing_scenario_shrinks_to_what_it_fails_by() {
    let mut scenario = (0..).map(Scenario::of_seed).find(|s| s.script.len() > 12).unwrap();
    scenario.script.truncate(12);
    scenario.planted = Some("I-0");
    let restart = Step { at: millis(700), verb: Verb::Restart(0) };
    scenario.script.retain(|step| !matches!(step.verb, Verb::Restart(_) | Verb::Close(_)));
    scenario.script.insert(0, restart);
    let violation = quietly(|| scenario.run()).unwrap_err();
    let shrunk = quietly(|| shrink(&scenario, &violation, 400));
    assert_eq!(shrunk.violation.id, "I-0");
    assert_eq!(shrunk.scenario.script, [restart]);
    assert_eq!(shrunk.scenario.links.loss, 0.0);
    assert!(shrunk.scenario.topology.parties.iter().all(|party| party.interfaces.len() == 1));
    let again = follow(scenario, &shrunk.steps);
    assert_eq!(again.to_string(), shrunk.scenario.to_string());
}
