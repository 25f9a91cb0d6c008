//! floe against real browsers, and libwebrtc in Node, at the page of `floe serve`: every cell of the matrix connects,
//! talks both ways, agrees on the pair, and goes on over a restart from each side; scenes follow,
//! and how soon a page is connected. Prints tables; fails if anything does.
//!
//!     cargo run -p browsers -- path/to/floe [--sample] [--write README.md] [what the names of rows have]
//!
//! `--sample` has each of floe's options once with each browser, and the speed with one.

mod scenes;
mod speed;
mod stage;
mod tables;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use lab::{Wanted, on_a_host};
use scenes::{Row, SCENES, Scene};
use speed::Speed;
use stage::{Cell, OPTIONS, Offers, Stage};

/// The last is no browser: the page in Node, over its libwebrtc.
const BROWSERS: [&str; 3] = ["chromium", "firefox", "node"];

/// What is tried.
struct Job {
    name: String,
    cell: Cell,
    play: Play,
}

#[derive(Clone, Copy)]
enum Play {
    Cell,
    Scene(Scene),
    Speed,
}

/// What came of it.
enum Outcome {
    Row(Row),
    /// How long the scene took.
    Scene(Duration),
    Speed(Speed),
}

fn main() -> ExitCode {
    lab::ending("browsers", run(std::env::args().skip(1)))
}

fn run(mut arguments: impl Iterator<Item = String>) -> Result<(), String> {
    let floe = arguments.next().map(PathBuf::from).and_then(|path| path.canonicalize().ok());
    let floe = floe.ok_or("say where floe is: cargo run -p browsers -- ../target/release/floe")?;
    let wanted = Wanted::read(arguments, &["--sample"])?;
    let is_sample = wanted.is_told("--sample");
    if is_sample && wanted.writes() {
        return Err("--write takes all rows; leave out --sample".into());
    }
    let outcomes = Mutex::new(Vec::new());
    let play_all = |jobs: Vec<Job>| {
        for job in jobs.into_iter().filter(|job| wanted.has(&job.name)) {
            let outcome = job.play(&floe);
            job.tell(&outcome);
            if let Ok(mut outcomes) = outcomes.lock() {
                outcomes.push((job.name, outcome));
            }
        }
    };
    // They share the processors, as they wait most of the time; what is compared has them alone.
    thread::scope(|scope| {
        for browser in BROWSERS {
            scope.spawn(move || play_all(matrix(browser, is_sample)));
        }
    });
    let timed = if is_sample { &BROWSERS[..1] } else { &BROWSERS };
    play_all(timed.iter().copied().flat_map(speeds).collect());

    let outcomes = outcomes.into_inner().unwrap_or_default();
    let played = outcomes.len();
    let (mut rows, mut speeds, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for (name, outcome) in outcomes {
        match outcome {
            Ok(Outcome::Row(row)) => rows.push(row),
            Ok(Outcome::Speed(speed)) => speeds.push(speed),
            Ok(Outcome::Scene(_)) => {}
            Err(error) => failed.push(format!("{name}: {error}")),
        }
    }
    rows.sort_by_key(|row| row.cell.browser);
    wanted.finish("browsers", &tables::write(&rows, &speeds), played, &failed)
}

/// Whether it shows names instead of addresses, unless told otherwise.
fn hides_addresses(browser: &str) -> bool {
    browser != "node"
}

/// The cells and scenes of a browser.
fn matrix(browser: &'static str, is_sample: bool) -> Vec<Job> {
    let mut jobs = Vec::new();
    let hides = hides_addresses(browser);
    for (which, offers) in [Offers::Floe, Offers::Browser].into_iter().enumerate() {
        for (number, (options, mdns)) in OPTIONS.into_iter().enumerate() {
            let cell = Cell { browser, offers, options, mdns: mdns && hides };
            let is_another = hides || !mdns || !options.is_empty();
            if is_another && (!is_sample || number % 2 == which) {
                jobs.push(Job { name: cell.name(), cell, play: Play::Cell });
            }
        }
    }
    jobs.extend(SCENES.map(|(name, offers, scene)| {
        let cell = Cell { browser, offers, options: &[], mdns: hides };
        Job { name: format!("{browser}, {name}"), cell, play: Play::Scene(scene) }
    }));
    jobs
}

/// What is measured of a browser.
fn speeds(browser: &'static str) -> Vec<Job> {
    [Offers::Browser, Offers::Floe]
        .map(|offers| {
            let cell = Cell { browser, offers, options: &[], mdns: hides_addresses(browser) };
            Job { name: format!("{browser}, speed, {}", offers.who()), cell, play: Play::Speed }
        })
        .into()
}

impl Job {
    fn play(&self, floe: &Path) -> Result<Outcome, String> {
        if let Play::Speed = self.play {
            return speed::measure(floe, self.cell).map(Outcome::Speed);
        }
        on_a_host(|| {
            let mut stage = Stage::enter(floe, self.cell)?;
            let played = stage.talk("first").and_then(|()| match self.play {
                Play::Scene(scene) => scenes::time(scene, &mut stage).map(Outcome::Scene),
                Play::Cell | Play::Speed => scenes::cell(&mut stage, self.cell).map(Outcome::Row),
            });
            played.map_err(|error| format!("{error}  and both said at last:\n{}", stage.last()))
        })
    }

    fn tell(&self, outcome: &Result<Outcome, String>) {
        let name = &self.name;
        match outcome {
            Ok(Outcome::Row(row)) => {
                eprintln!("{name}: {:.0} ms, open {:.0} ms", row.selected, row.open);
            }
            Ok(Outcome::Scene(took)) => eprintln!("{name}: {:.1} s", took.as_secs_f64()),
            Ok(Outcome::Speed(Speed { floe, itself, .. })) => {
                eprintln!("{name}: open after {} ms, with itself {} ms", floe[1], itself[1]);
            }
            Err(error) => eprintln!("{name}: FAILED\n  {error}"),
        }
    }
}
