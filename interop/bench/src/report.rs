//! What a run says: tables as they come, a summary for the README, and the gates.

use std::path::Path;
use std::{fs, io};

use crate::measure::{Cost, Effort};

/// Where the summary begins in a README.
const BEGIN: &str = "<!-- bench:begin -->";
/// Where it ends.
const END: &str = "<!-- bench:end -->";

/// One line of the summary: the same work by the best peer, by the floor and by floe.
struct Headline {
    work: String,
    best_peer: String,
    floor: String,
    floe: String,
    target: String,
}

/// A figure that is the same in every run, and its bound.
struct Gate {
    name: String,
    figure: f64,
    limit: f64,
}

impl Gate {
    fn met(&self) -> bool {
        self.figure <= self.limit
    }
}

/// What a run found.
pub struct Report {
    /// How long to measure.
    pub effort: Effort,
    /// Whether this is a smoke run: few rounds, few seeds.
    pub quick: bool,
    headlines: Vec<Headline>,
    gates: Vec<Gate>,
}

impl Report {
    /// An empty report.
    pub fn new(effort: Effort, quick: bool) -> Self {
        Self { effort, quick, headlines: Vec::new(), gates: Vec::new() }
    }

    /// Prints the heading of a section.
    pub fn section(&self, title: &str) {
        println!("\n## {title}\n");
    }

    /// Adds a line to the summary.
    pub fn headline(&mut self, work: &str, best_peer: &str, floor: &str, floe: &str, target: &str) {
        self.headlines.push(Headline {
            work: work.into(),
            best_peer: best_peer.into(),
            floor: floor.into(),
            floe: floe.into(),
            target: target.into(),
        });
    }

    /// Holds a deterministic figure against its bound; one that is missing misses it.
    pub fn gate(&mut self, name: &str, figure: Option<f64>, limit: f64) {
        let figure = figure.unwrap_or(f64::INFINITY);
        self.gates.push(Gate { name: name.into(), figure, limit });
    }

    /// Prints the summary and the gates; returns whether all gates are met.
    pub fn finish(&self) -> bool {
        if !self.headlines.is_empty() {
            self.section("Summary");
            print!("{}", self.summary());
        }
        if !self.gates.is_empty() {
            self.section("Gates: figures that are the same in every run");
            Table::begin(&["figure", "floe", "limit", "met"]);
            for gate in &self.gates {
                let met = if gate.met() { "yes" } else { "**no**" };
                Table::row(&[&gate.name, &plain(gate.figure), &plain(gate.limit), met]);
            }
        }
        self.gates.iter().all(Gate::met)
    }

    fn summary(&self) -> String {
        let mut text = String::from(
            "| work | best peer | floor | floe | target |\n|---|---:|---:|---:|---:|\n",
        );
        for Headline { work, best_peer, floor, floe, target } in &self.headlines {
            text += &format!("| {work} | {best_peer} | {floor} | {floe} | {target} |\n");
        }
        text
    }

    /// Rewrites the summary between the markers of a README.
    pub fn write_readme(&self, path: &Path) -> io::Result<()> {
        let readme = fs::read_to_string(path)?;
        let missing = || io::Error::other(format!("no {BEGIN} … {END} in {}", path.display()));
        let (before, rest) = readme.split_once(BEGIN).ok_or_else(missing)?;
        let (_, after) = rest.split_once(END).ok_or_else(missing)?;
        fs::write(path, format!("{before}{BEGIN}\n{}{END}{after}", self.summary()))
    }
}

/// A number without needless decimals.
fn plain(figure: f64) -> String {
    let text = format!("{figure:.3}");
    text.trim_end_matches('0').trim_end_matches('.').into()
}

/// A markdown table, printed row by row: the first column is text, the others figures.
pub struct Table;

impl Table {
    /// Prints the head.
    pub fn begin(columns: &[&str]) {
        println!("| {} |", columns.join(" | "));
        println!("|---|{}", "---:|".repeat(columns.len() - 1));
    }

    /// Prints a row.
    pub fn row(cells: &[&str]) {
        println!("| {} |", cells.join(" | "));
    }
}

/// Prints the costs, one table for each group in the order of their first appearance.
pub fn print_costs(costs: &[Cost]) {
    let mut groups: Vec<&str> = Vec::new();
    for cost in costs {
        if !groups.contains(&cost.group.as_str()) {
            groups.push(&cost.group);
        }
    }
    for group in groups {
        println!("\n### {group}\n");
        Table::begin(&["case", "ns/op median (min–max)", "instr/op", "allocs/op", "octets/op"]);
        for cost in costs.iter().filter(|cost| cost.group == group) {
            let nanos = &cost.nanos;
            Table::row(&[
                &cost.name,
                &format!("{:.0} ({:.0}–{:.0})", nanos.median, nanos.least, nanos.greatest),
                &cost.instructions.map_or_else(|| "—".into(), |count| count.to_string()),
                &format!("{:.2}", cost.allocations),
                &format!("{:.0}", cost.octets),
            ]);
        }
    }
}

/// The row of `group` whose name begins with `name`.
pub fn find<'a>(costs: &'a [Cost], group: &str, name: &str) -> Option<&'a Cost> {
    costs.iter().find(|cost| cost.group == group && cost.name.starts_with(name))
}

/// The quickest row of `group` that is neither floe's nor a floor.
pub fn best_peer<'a>(costs: &'a [Cost], group: &str) -> Option<&'a Cost> {
    costs
        .iter()
        .filter(|cost| cost.group == group)
        .filter(|cost| !cost.name.starts_with("floe") && !cost.name.starts_with("floor"))
        .min_by(|a, b| a.nanos.median.total_cmp(&b.nanos.median))
}

/// A cost in a cell of the summary.
pub fn cell(cost: Option<&Cost>) -> String {
    match cost {
        Some(cost) if cost.allocations > 0.0 => {
            format!("{:.0} ns, {:.0} allocations", cost.nanos.median, cost.allocations)
        }
        Some(cost) => format!("{:.0} ns", cost.nanos.median),
        None => "—".into(),
    }
}

/// The same, as a multiple of the floor too.
pub fn ratio_cell(cost: Option<&Cost>, floor: Option<&Cost>) -> String {
    match (cost, floor) {
        (Some(cost), Some(floor)) => {
            let ratio = cost.nanos.median / floor.nanos.median;
            format!("{} ({ratio:.2} × floor)", cell(Some(cost)))
        }
        (cost, _) => cell(cost),
    }
}

/// The same with the name of the peer.
pub fn peer_cell(cost: Option<&Cost>) -> String {
    match cost {
        Some(peer) => format!("{} ({})", cell(Some(peer)), peer.name),
        None => "—".into(),
    }
}
