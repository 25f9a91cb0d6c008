//! Two agents meet on a lossy path, for many seeds.

use std::time::Duration;

use crate::agents::Agent;
use crate::agents::floe::Floe;
use crate::agents::is::Is;
use crate::agents::rice::Rice;
use crate::agents::rtc::Rtc;
use crate::connect::{Meeting, Outcome, meet};
use crate::measure::{Spread, quantile};
use crate::network::Path;
use crate::report::{Report, Table};

const RTT: Duration = Duration::from_millis(50);
const LIMIT: Duration = Duration::from_secs(30);
const SEEDS: u64 = 300;
/// The targets at 30 % of loss each way and 4 × 4 candidates.
const TARGET: &str = "p50 ≤ 450 ms, p99 ≤ 1,500 ms, ≤ 40 packets";

struct Row {
    name: &'static str,
    sendable: Vec<f64>,
    selected: Vec<f64>,
    packets: Vec<f64>,
    meetings: usize,
}

fn measure<A: Agent>(candidates: usize, loss: f64, quick: bool) -> Row {
    let seeds = if quick { 20 } else { SEEDS };
    let outcomes: Vec<Outcome> = (1..=seeds)
        .map(|seed| {
            let seed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let path = Path { loss, seed, ..Path::with_rtt(RTT) };
            meet::<A>(&Meeting { candidates, path, limit: LIMIT })
        })
        .collect();
    Row {
        name: A::NAME,
        sendable: outcomes.iter().filter_map(Outcome::both_sendable).collect(),
        selected: outcomes.iter().filter_map(Outcome::both_selected).collect(),
        packets: outcomes.iter().map(|outcome| outcome.packets as f64).collect(),
        meetings: outcomes.len(),
    }
}

impl Row {
    fn packets(&self) -> f64 {
        Spread::of(&self.packets).map_or(f64::NAN, |spread| spread.median)
    }

    fn quantiles(&self, samples: &[f64]) -> String {
        [0.5, 0.95, 0.99, 1.0]
            .map(|share| quantile(samples, share).map_or("—".into(), |time| format!("{time:.0}")))
            .join(" / ")
    }

    fn print(&self, candidates: usize, loss: f64) {
        Table::row(&[
            &format!("({candidates},{candidates}) {:.0} %", loss * 100.0),
            self.name,
            &self.quantiles(&self.sendable),
            &self.quantiles(&self.selected),
            &format!("{}/{}", self.meetings - self.selected.len(), self.meetings),
            &format!("{:.0}", self.packets()),
        ]);
    }

    fn cell(&self) -> String {
        let at = |share| quantile(&self.sendable, share).unwrap_or(f64::NAN);
        format!("p50 {:.0} ms, p99 {:.0} ms, {:.0} packets", at(0.5), at(0.99), self.packets())
    }
}

/// Runs the section.
pub fn run(report: &mut Report) {
    report.section("Connecting with loss (RTT 50 ms, virtual time)");
    Table::begin(&[
        "candidates, loss each way",
        "crate",
        "both sendable, ms: p50 / p95 / p99 / max",
        "both selected, ms: p50 / p95 / p99 / max",
        "not within 30 s",
        "packets until selected (median)",
    ]);
    for (candidates, loss) in [(1, 0.1), (1, 0.3), (4, 0.1), (4, 0.3)] {
        one_path(report, candidates, loss);
    }
}

fn one_path(report: &mut Report, candidates: usize, loss: f64) {
    let quick = report.quick;
    let floe = measure::<Floe>(candidates, loss, quick);
    let peers = [
        measure::<Is>(candidates, loss, quick),
        measure::<Rice>(candidates, loss, quick),
        measure::<Rtc>(candidates, loss, quick),
    ];
    floe.print(candidates, loss);
    peers.iter().for_each(|peer| peer.print(candidates, loss));
    let missed = floe.meetings - floe.selected.len();
    let name = format!(
        "({candidates},{candidates}) {:.0} % loss: not connected within 30 s",
        loss * 100.0
    );
    report.gate(&name, Some(missed as f64), 0.0);
    if (candidates, loss) == (4, 0.3) {
        let p99 = |row: &Row| quantile(&row.sendable, 0.99).unwrap_or(f64::INFINITY);
        let best = peers.iter().min_by(|a, b| p99(a).total_cmp(&p99(b))).expect("peers");
        let work = "30 % loss each way, 4 × 4 candidates, RTT 50 ms: both sendable";
        report.headline(
            work,
            &format!("{} ({})", best.cell(), best.name),
            "",
            &floe.cell(),
            TARGET,
        );
        let hundredth = if quick { None } else { Some(p99(&floe)) };
        if let Some(hundredth) = hundredth {
            report.gate(
                "(4,4) 30 % loss: p50 of both sendable, virtual ms",
                quantile(&floe.sendable, 0.5),
                450.0,
            );
            report.gate(
                "(4,4) 30 % loss: p99 of both sendable, virtual ms",
                Some(hundredth),
                1500.0,
            );
            report.gate("(4,4) 30 % loss: packets, median", Some(floe.packets()), 40.0);
        }
    }
}
