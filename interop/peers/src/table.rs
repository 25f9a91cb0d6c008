//! The tables of a run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::{Cell, MODES, OTHERS, Outcome};

/// Writes the matrix, and how fast each is with floe and with itself.
pub fn write(
    cells: &[Cell],
    outcomes: &[Result<Outcome, String>],
    times: &[(&str, [Duration; 3])],
) -> String {
    let mut table = String::from("| peer | floe is |");
    MODES.iter().for_each(|(_, name)| write!(table, " {name} |").expect("room"));
    table.push_str("\n|---|---|");
    MODES.iter().for_each(|_| table.push_str("---|"));
    table.push('\n');
    for peer in &OTHERS {
        for controls in [true, false] {
            let row = row(peer.name, controls, cells, outcomes);
            table.push_str(row.as_deref().unwrap_or_default());
        }
    }
    table.push_str(
        "\n| peer | floe controls | the peer controls | the peer with itself |\n|---|---:|---:|---:|\n",
    );
    for (name, times) in times {
        let [one, other, alone] = times.map(|time| time.as_secs_f64() * 1e3);
        writeln!(table, "| {name} | {one:.0} ms | {other:.0} ms | {alone:.0} ms |").expect("room");
    }
    table
}

/// The cells of one peer, as one of the two; `None` if there are none.
fn row(
    name: &str,
    controls: bool,
    cells: &[Cell],
    outcomes: &[Result<Outcome, String>],
) -> Option<String> {
    let played = cells.iter().zip(outcomes);
    let ours = played.filter(|(cell, _)| cell.peer.name == name && cell.floe_controls == controls);
    let ours: BTreeMap<_, _> = ours.map(|(cell, outcome)| (cell.mode, outcome)).collect();
    let version = ours.values().find_map(|outcome| Some(&outcome.as_ref().ok()?.version));
    let version = version.map_or(name, String::as_str);
    let role = if controls { "controlling" } else { "controlled" };
    let mut row = format!("| {version} | {role} |");
    for (mode, _) in MODES {
        let text = match ours.get(&mode) {
            Some(Ok(outcome)) => {
                let again = if outcome.restarted { ", restarted" } else { "" };
                format!("{}, {} ms{again}", outcome.pair, outcome.took.as_millis())
            }
            Some(Err(_)) => "failed".into(),
            None => "–".into(),
        };
        write!(row, " {text} |").ok()?;
    }
    row.push('\n');
    (!ours.is_empty()).then_some(row)
}
