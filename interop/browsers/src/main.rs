//! floe against real browsers, at the page of `floe serve`: every cell of the matrix connects,
//! talks both ways, agrees on the pair, and goes on over a restart from each side. Prints a table;
//! fails if a cell does.
//!
//!     cargo run -p browsers -- path/to/floe [--write README.md] [what the names of rows have, such as chromium]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use lab::{Network, SERVERS};
use serde_json::Value;

mod process;

use process::Talker;

const PORT: u16 = 8080;
/// How long a browser may take to start.
const START: Duration = Duration::from_secs(60);
/// How long anything else may take.
const SOON: Duration = Duration::from_secs(20);
/// Consent ends after 30 s; the look at it takes a while. [RFC 7675]
const CONSENT: Duration = Duration::from_secs(35);
/// Where the table stands in the document.
const MARKS: [&str; 2] = ["<!-- browsers: begin -->\n", "<!-- browsers: end -->\n"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Offers {
    Floe,
    Browser,
}

/// One cell of the matrix.
#[derive(Clone, Copy)]
struct Cell {
    browser: &'static str,
    offers: Offers,
    /// What `floe connect` is told.
    options: &'static [&'static str],
    /// Whether the browser hides its addresses behind names.
    mdns: bool,
}

/// What came of a cell.
struct Row {
    version: String,
    cell: Cell,
    /// From the peer's arrival until a pair was selected, and until the channel was open.
    selected: Duration,
    open: Duration,
    pair: String,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(floe) = arguments.next().map(PathBuf::from).and_then(|path| path.canonicalize().ok())
    else {
        eprintln!("browsers: say where floe is: cargo run -p browsers -- target/debug/floe");
        return ExitCode::FAILURE;
    };
    let (mut write, mut only) = (None, None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--write" => write = arguments.next().map(PathBuf::from),
            _ => only = Some(argument),
        }
    }
    let browsers = ["chromium", "firefox"];
    let wanted = |name: &str| only.as_deref().is_none_or(|only| name.contains(only));
    let (mut rows, mut failed, mut played) = (Vec::new(), 0, 0);
    for browser in browsers {
        for cell in cells(browser).into_iter().filter(|cell| wanted(&cell.name())) {
            played += 1;
            eprint!("{} ... ", cell.name());
            match play(&floe, cell) {
                Ok(row) => {
                    eprintln!("{} ms, open {} ms", row.selected.as_millis(), row.open.as_millis());
                    rows.push(row);
                }
                Err(error) => {
                    failed += 1;
                    eprintln!("FAILED\n  {error}");
                }
            }
        }
        let scenes: [(&str, Offers, Scene); 5] = [
            ("both restart at once, floe offered first", Offers::Floe, restart_at_once),
            ("both restart at once, the browser offered first", Offers::Browser, restart_at_once),
            ("reload", Offers::Floe, reload),
            ("floe killed", Offers::Floe, floe_killed),
            ("browser killed", Offers::Floe, browser_killed),
        ];
        for (name, offers, scene) in scenes {
            let name = format!("{browser}, {name}");
            if !wanted(&name) {
                continue;
            }
            played += 1;
            eprint!("{name} ... ");
            let cell = Cell { browser, offers, options: &[], mdns: true };
            match scene(&floe, cell) {
                Ok(took) => eprintln!("{:.1} s", took.as_secs_f64()),
                Err(error) => {
                    failed += 1;
                    eprintln!("FAILED\n  {error}");
                }
            }
        }
    }
    if played == 0 {
        eprintln!("browsers: no row has such a name");
        return ExitCode::FAILURE;
    }
    let table = table(&rows);
    println!("{table}");
    if failed > 0 {
        eprintln!("browsers: {failed} failed");
        return ExitCode::FAILURE;
    }
    match write.map(|path| write_into(&path, &table)) {
        Some(Err(error)) => {
            eprintln!("browsers: {error}");
            ExitCode::FAILURE
        }
        Some(Ok(())) | None => ExitCode::SUCCESS,
    }
}

type Scene = fn(&Path, Cell) -> Result<Duration, String>;

fn cells(browser: &'static str) -> Vec<Cell> {
    let mut cells = Vec::new();
    for offers in [Offers::Floe, Offers::Browser] {
        for (options, mdns) in [
            (&[][..], true),
            (&[], false),
            (&["--no-trickle"], true),
            (&["--lite"], true),
            (&["--ipv4"], false),
            (&["--ipv6"], false),
        ] {
            cells.push(Cell { browser, offers, options, mdns });
        }
    }
    cells
}

impl Cell {
    fn name(&self) -> String {
        let offers = match self.offers {
            Offers::Floe => "floe offers",
            Offers::Browser => "the browser offers",
        };
        let addresses = if self.mdns { "mDNS" } else { "addresses" };
        let options = self.options.join(" ");
        format!("{}, {offers}, {addresses} {options}", self.browser).trim_end().into()
    }
}

/// A server, and who is in its room.
struct Stage {
    floe: Talker,
    browser: Talker,
    version: String,
    _serve: Talker,
    _network: Network,
}

fn is(what: &'static str, value: &'static str) -> impl Fn(&Value) -> bool {
    move |said| said[what] == value
}

impl Stage {
    fn enter(floe: &Path, cell: Cell) -> Result<Self, String> {
        let network = Network::enter();
        // A browser takes the addresses of the interface that leads to the world.
        for family in ["-4", "-6"] {
            let gateway = if family == "-4" { "203.0.113.10" } else { "2001:db8::10" };
            let route = ["route", "add", "default", "via", gateway];
            let output = Command::new("ip").arg(family).args(route).output();
            output.map_err(|error| format!("ip: {error}"))?;
        }
        let address = format!("{}:{PORT}", SERVERS[0]);
        let page = format!("http://{address}/room/matrix");
        let mut serve = Command::new(floe);
        serve.args(["serve", "--listen", &address]);
        let mut serve = network.server.run(move || Talker::start("serve", serve));
        serve.until("where it is", SOON, |said| said.to_string().contains("http://"))?;
        let mut tool = Command::new(floe);
        tool.args(["connect", "--json"]).args(cell.options).arg(&page);
        let tool = || network.server.run(move || Talker::start("floe", tool));
        let mut script = Command::new("node");
        script.current_dir(concat!(env!("CARGO_MANIFEST_DIR")));
        script.args(["page.mjs", cell.browser, &page]);
        if !cell.mdns {
            script.arg("raw");
        }
        let browser = || -> Result<(Talker, String), String> {
            let mut browser = Talker::start("browser", script);
            let (_, said) =
                browser.until("its version", START, |said| said["version"].is_string())?;
            Ok((browser, said["version"].as_str().unwrap_or_default().into()))
        };
        // Who comes last offers.
        let (floe, (browser, version)) = match cell.offers {
            Offers::Floe => {
                let (mut browser, version) = browser()?;
                browser.until("that it waits", SOON, is("status", "waiting for somebody else"))?;
                (tool(), (browser, version))
            }
            Offers::Browser => {
                let mut floe = tool();
                floe.until("that it waits", SOON, is("type", "joined"))?;
                (floe, browser()?)
            }
        };
        let mut stage = Self { floe, browser, version, _serve: serve, _network: network };
        stage.open()?;
        Ok(stage)
    }

    fn open(&mut self) -> Result<(), String> {
        self.floe.until("that the channel is open", SOON, is("type", "open"))?;
        self.browser.until("that the channel is open", SOON, |said| said["channel"] == true)?;
        Ok(())
    }

    /// Says something in both directions.
    fn talk(&mut self, text: &str) -> Result<(), String> {
        let talked = self.say(text);
        talked.map_err(|error| format!("{error}  and there was said:\n{}", self.last()))
    }

    /// What both said last.
    fn last(&mut self) -> String {
        self.floe.hear();
        self.browser.hear();
        format!("{}{}", self.floe.last(), self.browser.last())
    }

    fn say(&mut self, text: &str) -> Result<(), String> {
        self.floe.tell(&format!("{text} from floe"))?;
        self.browser.tell(&format!("say {text} from the browser"))?;
        let wanted = format!("{text} from the browser");
        self.floe.until(&wanted, SOON, |said| said["text"] == wanted.as_str())?;
        let wanted = format!("{text} from floe");
        self.browser.until(&wanted, SOON, |said| said["log"]["text"] == wanted.as_str())?;
        Ok(())
    }

    /// Waits until both say that the same pair is selected: the browser counts a moment later.
    fn compare(&mut self) -> Result<String, String> {
        // Data may flow before a pair is nominated.
        if self.floe.first(is("type", "selected")).is_none() {
            self.floe.until("a pair", SOON, is("type", "selected"))?;
        }
        let end = Instant::now() + SOON;
        loop {
            self.browser.tell("stats")?;
            let stats = |said: &Value| said["stats"]["local"].is_object();
            let (_, said) = self.browser.until("its statistics", SOON, stats)?;
            let theirs = &said["stats"];
            self.floe.hear();
            let selected = self.floe.said.iter().rev().find(|(_, said)| said["type"] == "selected");
            let ours = selected.map(|(_, said)| said.clone()).unwrap_or_default();
            let same = ours["local"]["port"] == theirs["remote"]["port"]
                && ours["remote"]["port"] == theirs["local"]["port"]
                && ours["local"]["address"] == theirs["remote"]["address"];
            if same {
                let kind = |end: &str| ours[end]["type"].as_str().unwrap_or("?").to_owned();
                return Ok(format!("{} – {}", kind("local"), kind("remote")));
            }
            if Instant::now() > end {
                return Err(format!("floe has {ours}, the browser {theirs:.400}"));
            }
        }
    }
}

fn play(floe: &Path, cell: Cell) -> Result<Row, String> {
    // A thread of its own lives in a network of its own.
    let floe = floe.to_owned();
    on_a_host(move || {
        let mut stage = Stage::enter(&floe, cell)?;
        stage.talk("first")?;
        let pair = stage.compare()?;
        let began = stage.floe.first(is("type", "peer")).ok_or("nobody came")?;
        let selected = stage.floe.first(is("type", "selected")).ok_or("nothing was selected")?;
        let open = stage.floe.first(is("type", "open")).ok_or("no channel")?;
        stage.browser.tell("restart")?;
        stage.floe.until("that the browser restarts", SOON, is("type", "restarting"))?;
        stage.floe.until("a new pair", SOON, is("type", "selected"))?;
        stage.talk("after the browser's restart")?;
        stage.floe.tell("/restart")?;
        stage.floe.until("that it restarts", SOON, is("type", "restarting"))?;
        stage.floe.until("a new pair", SOON, is("type", "selected"))?;
        stage.talk("after the restart of floe")?;
        stage.compare()?;
        let version = stage.version.clone();
        Ok(Row { version, cell, selected: selected - began, open: open - began, pair })
    })
}

/// Both ask for a restart before they hear of the other's, again and again: the channel goes on.
fn restart_at_once(floe: &Path, cell: Cell) -> Result<Duration, String> {
    let floe = floe.to_owned();
    on_a_host(move || {
        let mut stage = Stage::enter(&floe, cell)?;
        stage.talk("before")?;
        let began = Instant::now();
        for round in 0..5 {
            stage.browser.tell("restart")?;
            stage.floe.tell("/restart")?;
            stage.floe.until("a new pair", SOON, is("type", "selected"))?;
            stage.talk(&format!("after restart {round}"))?;
        }
        stage.compare()?;
        Ok(began.elapsed())
    })
}

/// The page is loaded anew: both find each other again.
fn reload(floe: &Path, cell: Cell) -> Result<Duration, String> {
    let floe = floe.to_owned();
    on_a_host(move || {
        let mut stage = Stage::enter(&floe, cell)?;
        stage.talk("before")?;
        let began = Instant::now();
        stage.browser.tell("reload")?;
        stage.open()?;
        let took = began.elapsed();
        stage.talk("after the reload")?;
        Ok(took)
    })
}

/// floe ends without a word: the browser notices.
fn floe_killed(floe: &Path, cell: Cell) -> Result<Duration, String> {
    let floe = floe.to_owned();
    on_a_host(move || {
        let mut stage = Stage::enter(&floe, cell)?;
        stage.talk("before")?;
        let began = Instant::now();
        stage.floe.kill();
        stage.browser.until("disconnected", CONSENT, is("ice", "disconnected"))?;
        Ok(began.elapsed())
    })
}

/// The browser ends without a word: floe notices within the time of consent.
fn browser_killed(floe: &Path, cell: Cell) -> Result<Duration, String> {
    let floe = floe.to_owned();
    on_a_host(move || {
        let mut stage = Stage::enter(&floe, cell)?;
        stage.talk("before")?;
        let began = Instant::now();
        stage.browser.tell("crash")?;
        stage.floe.until("disconnected", CONSENT, is("state", "disconnected"))?;
        Ok(began.elapsed())
    })
}

fn on_a_host<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    std::thread::spawn(work).join().unwrap_or_else(|_| Err("it panicked".into()))
}

fn table(rows: &[Row]) -> String {
    let mut table = String::from(
        "| peer | offers | floe's options | the browser's addresses | selected after | open after \
         | pair (floe – browser) |\n|---|---|---|---|---:|---:|---|\n",
    );
    for row in rows {
        let offers = if row.cell.offers == Offers::Floe { "floe" } else { "browser" };
        let addresses = if row.cell.mdns { "mDNS names" } else { "shown" };
        let _ = writeln!(
            table,
            "| {} | {offers} | {} | {addresses} | {} ms | {} ms | {} |",
            row.version,
            row.cell.options.join(" "),
            row.selected.as_millis(),
            row.open.as_millis(),
            row.pair,
        );
    }
    table
}

/// Puts the table between its marks.
fn write_into(path: &Path, table: &str) -> Result<(), String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let (before, rest) = text.split_once(MARKS[0]).ok_or("no mark for the table")?;
    let (_, after) = rest.split_once(MARKS[1]).ok_or("no mark for the end of the table")?;
    let text = format!("{before}{}{table}{}{after}", MARKS[0], MARKS[1]);
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
