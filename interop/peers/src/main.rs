//! floe and the ICE agents of others, on two hosts with a cable: every cell of the matrix connects
//! and talks both ways. Prints a table; fails if a cell does.
//!
//!     cargo run -p peers -- [--write README.md] [--lines] [what the names of cells have, such as pion]
//!
//! Each agent is a process that says its credentials and candidates as JSON lines, and is told
//! those of the other: `lines.md` has them all. `peers speak LIBRARY` is one.

mod session;
mod speak;
mod table;

use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use lab::{Coturn, Network, PASSWORD, Talker, USER, Wanted, on_a_host};
use session::Session;

/// Sessions at a time, as most wait; the times of those that are compared come one by one.
const AT_ONCE: usize = 4;
/// Sessions of which the median counts.
const TIMED: usize = 9;
/// What the cable takes in one direction where times are compared.
const FAR: Duration = Duration::from_millis(25);

/// Whether all that the agents say is shown.
static LINES: AtomicBool = AtomicBool::new(false);

/// A library.
struct Library {
    name: &'static str,
    /// What runs it, in this folder; none is this program itself.
    program: Option<&'static [&'static str]>,
    lite: bool,
    restart: bool,
    relay: bool,
}

/// One that can all that is tried.
const fn can_all(name: &'static str, program: Option<&'static [&'static str]>) -> Library {
    Library { name, program, lite: true, restart: true, relay: true }
}

const FLOE: Library = can_all("floe", None);
const OTHERS: [Library; 7] = [
    can_all("pion", Some(&["./pion_peer"])),
    can_all("libnice", Some(&["./nice_peer"])),
    Library {
        lite: false,
        restart: false,
        ..can_all("aioice", Some(&["venv/bin/python", "aioice_peer.py"]))
    },
    Library { relay: false, ..can_all("is", None) },
    can_all("webrtc-ice", None),
    Library { relay: false, ..can_all("rtc-ice", None) },
    Library { relay: false, restart: false, lite: false, ..can_all("rice-proto", None) },
];

/// What is tried.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mode {
    /// Candidates as they come, and a restart from each side.
    Trickle,
    /// Candidates with the credentials.
    Vanilla,
    /// IPv6 alone.
    Ipv6,
    FloeLite,
    PeerLite,
    /// The one has nothing but relayed candidates.
    FloeRelay,
    PeerRelay,
}

const MODES: [(Mode, &str); 7] = [
    (Mode::Trickle, "trickle, restarts"),
    (Mode::Vanilla, "vanilla"),
    (Mode::Ipv6, "IPv6"),
    (Mode::FloeLite, "floe lite"),
    (Mode::PeerLite, "peer lite"),
    (Mode::FloeRelay, "floe relayed"),
    (Mode::PeerRelay, "peer relayed"),
];

/// One cell of the matrix.
struct Cell {
    peer: &'static Library,
    floe_controls: bool,
    mode: Mode,
}

/// What came of it.
struct Outcome {
    version: String,
    took: Duration,
    /// What floe says that the pair is.
    pair: String,
    restarted: bool,
}

impl Cell {
    fn name(&self) -> String {
        let role = if self.floe_controls { "controlling" } else { "controlled" };
        let mode = MODES.iter().find(|(mode, _)| *mode == self.mode).map_or("", |(_, name)| name);
        format!("{}, floe {role}, {mode}", self.peer.name)
    }

    fn can_be(&self) -> bool {
        match self.mode {
            Mode::PeerLite => self.peer.lite && self.floe_controls,
            // A lite agent is controlled where the other is not. [RFC 8445 §6.1.1]
            Mode::FloeLite => !self.floe_controls,
            Mode::PeerRelay => self.peer.relay,
            Mode::Trickle | Mode::Vanilla | Mode::Ipv6 | Mode::FloeRelay => true,
        }
    }

    fn play(&self) -> Result<Outcome, String> {
        let network = Network::enter();
        let relayed = matches!(self.mode, Mode::FloeRelay | Mode::PeerRelay);
        let _turn = relayed.then(|| Coturn::start(&network, &[]));
        let options = |lite, relay| {
            let mut options = Vec::new();
            if self.mode == Mode::Ipv6 {
                options.extend(["--family".to_owned(), "6".into()]);
            }
            if self.mode == lite {
                options.push("--lite".into());
            }
            if self.mode == relay {
                options.extend(["--relay".into(), format!("{},{USER},{PASSWORD}", Coturn::PLAIN)]);
            }
            options
        };
        let floe = options(Mode::FloeLite, Mode::FloeRelay);
        let peer = options(Mode::PeerLite, Mode::PeerRelay);
        let (floe_role, peer_role) = match self.floe_controls {
            true => ("controlling", "controlled"),
            false => ("controlled", "controlling"),
        };
        let floe = FLOE.start(floe_role, floe);
        let library = self.peer;
        let peer = network.server.run(move || library.start(peer_role, peer));
        let lite = [self.mode == Mode::FloeLite, self.mode == Mode::PeerLite];
        let (talkers, lite, ours) = match self.floe_controls {
            true => ([floe, peer], lite, 0),
            false => ([peer, floe], [lite[1], lite[0]], 1),
        };
        let mut session = Session::new(talkers, lite, self.mode == Mode::Vanilla);
        let took = session.connect()?;
        session.talk("first")?;
        self.look(&session, ours)?;
        let restarted = self.mode == Mode::Trickle && self.peer.restart;
        if restarted {
            for who in [0, 1] {
                session.restart(who)?;
                session.talk(&format!("after the restart of {who}"))?;
            }
        }
        if LINES.load(Ordering::Relaxed) {
            eprintln!("{}:\n{}", self.name(), session.lines());
        }
        let (version, pair) = (session.version(1 - ours), session.pair(ours));
        Ok(Outcome { version, took, pair, restarted })
    }

    /// Whether the session was what the cell is about.
    fn look(&self, session: &Session, ours: usize) -> Result<(), String> {
        let pair = session.pair(ours);
        let is_so = match self.mode {
            Mode::Ipv6 => [0, 1].iter().all(|who| {
                session.has_only(*who, |line| {
                    line.split(' ').nth(4).is_some_and(|ip| ip.contains(':'))
                })
            }),
            Mode::FloeRelay => {
                pair.starts_with("relay")
                    && session.has_only(ours, |line| line.contains("typ relay"))
            }
            Mode::PeerRelay => {
                // What its server sends from may be known by the check alone.
                session.has_only(1 - ours, |line| line.contains("typ relay"))
            }
            Mode::Trickle | Mode::Vanilla | Mode::FloeLite | Mode::PeerLite => true,
        };
        is_so.then_some(()).ok_or_else(|| format!("it was not that: {pair}\n{}", session.lines()))
    }
}

impl Library {
    /// Starts an agent on the host of this thread.
    fn start(&self, role: &str, options: Vec<String>) -> Talker {
        let mut command = match self.program {
            Some([program, arguments @ ..]) => {
                let mut command = Command::new(program);
                command.args(arguments);
                command
            }
            Some([]) | None => {
                let mut command = Command::new(std::env::current_exe().expect("this program"));
                command.args(["speak", self.name]);
                command
            }
        };
        command.current_dir(env!("CARGO_MANIFEST_DIR")).args(["--role", role]).args(&options);
        let mut talker = Talker::start(self.name, command);
        if options.iter().any(|option| option == "--relay") {
            // It gives its relay back.
            talker.farewell = Duration::from_secs(2);
        }
        talker
    }

    /// How long two agents take that trickle: the median of some sessions, one after the other.
    fn time(&self, other: &'static Library) -> Result<Duration, String> {
        let mut times = Vec::new();
        for _ in 0..TIMED {
            times.push(on_a_host(|| {
                let network = Network::enter_far(FAR);
                let first = self.start("controlling", Vec::new());
                let second = network.server.run(move || other.start("controlled", Vec::new()));
                let mut session = Session::new([first, second], [false; 2], false);
                let took = session.connect();
                if LINES.load(Ordering::Relaxed) {
                    eprintln!("{} and {}:\n{}", self.name, other.name, session.lines());
                }
                took
            })?);
        }
        times.sort();
        Ok(times[TIMED / 2])
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|first| first == "speak").is_some() {
        return speak::main(arguments);
    }
    lab::ending("peers", run(arguments))
}

fn run(arguments: impl Iterator<Item = String>) -> Result<(), String> {
    let wanted = Wanted::read(arguments, &["--lines"])?;
    LINES.store(wanted.is_told("--lines"), Ordering::Relaxed);
    let mut cells = Vec::new();
    for peer in &OTHERS {
        for floe_controls in [true, false] {
            for (mode, _) in MODES {
                let cell = Cell { peer, floe_controls, mode };
                if cell.can_be() && wanted.has(&cell.name()) {
                    cells.push(cell);
                }
            }
        }
    }
    let outcomes = play_all(&cells);
    let mut failed = Vec::new();
    for (cell, outcome) in cells.iter().zip(&outcomes) {
        if let Err(error) = outcome {
            failed.push(format!("{}: {error}", cell.name()));
        }
    }
    let (mut times, mut timed) = (Vec::new(), 0);
    for peer in OTHERS.iter().filter(|peer| cells.iter().any(|cell| cell.peer.name == peer.name)) {
        timed += 1;
        let pairs = [(&FLOE, peer), (peer, &FLOE), (peer, peer)];
        match pairs.map(|(first, second)| first.time(second)) {
            [Ok(one), Ok(other), Ok(alone)] => times.push((peer.name, [one, other, alone])),
            errors => {
                let errors = errors.into_iter().filter_map(Result::err);
                failed.extend(errors.map(|error| format!("{}, timed: {error}", peer.name)));
            }
        }
    }
    let tables = table::write(&cells, &outcomes, &times);
    wanted.finish("peers", &tables, cells.len() + timed, &failed)
}

/// Plays some cells at a time, and says what came of each.
fn play_all(cells: &[Cell]) -> Vec<Result<Outcome, String>> {
    let next = Mutex::new(cells.iter().enumerate());
    let outcomes = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some((index, cell)) = next.lock().expect("no panic").next() else { return };
                    // A thread that has played lives in the network of that cell.
                    let outcome = on_a_host(|| cell.play());
                    match &outcome {
                        Ok(outcome) => {
                            eprintln!("{}: {} ms", cell.name(), outcome.took.as_millis())
                        }
                        Err(error) => eprintln!("{}: FAILED\n  {error}", cell.name()),
                    }
                    outcomes.lock().expect("no panic").push((index, outcome));
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().expect("no panic");
    outcomes.sort_by_key(|(index, _)| *index);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}
