//! A server, a browser at its page, and `floe connect` in the same room.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use lab::{Coturn, Network, SERVERS, Talker};
use serde_json::Value;

const PORT: u16 = 8080;
/// How long a browser may take to start, with two more tries.
const START: Duration = Duration::from_secs(80);
/// How long anything else may take.
pub const SOON: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Offers {
    Floe,
    Browser,
}

/// One cell of the matrix.
#[derive(Clone, Copy)]
pub struct Cell {
    pub browser: &'static str,
    pub offers: Offers,
    /// What `floe connect` is told.
    pub options: &'static [&'static str],
    /// Whether the browser hides its addresses behind names.
    pub mdns: bool,
}

/// What makes floe use relayed candidates alone.
const RELAYED: &[&str] = &[
    "--policy",
    "relay",
    "--turn",
    "turn:203.0.113.10",
    "--username",
    lab::USER,
    "--password",
    lab::PASSWORD,
];

/// What `floe connect` is told, and whether the browser hides its addresses.
pub const OPTIONS: [(&[&str], bool); 8] = [
    (&[], true),
    (&[], false),
    (&["--no-trickle"], true),
    (&["--lite"], true),
    (&["--ipv4"], false),
    (&["--ipv6"], false),
    (&["--hide-addresses"], true),
    // No relay is told of what hides behind a name.
    (RELAYED, false),
];

impl Offers {
    /// As the names of rows have it.
    pub fn who(self) -> &'static str {
        match self {
            Self::Floe => "floe offers",
            Self::Browser => "the browser offers",
        }
    }
}

impl Cell {
    pub fn name(&self) -> String {
        let offers = self.offers.who();
        let addresses = if self.mdns { "mDNS" } else { "addresses" };
        format!("{}, {offers}, {addresses} {}", self.browser, self.shown()).trim_end().into()
    }

    /// What floe is told, without the names of the server.
    pub fn shown(&self) -> String {
        let shown = if self.options == RELAYED { &RELAYED[..2] } else { self.options };
        shown.join(" ")
    }
}

/// A server, and who is in its room.
pub struct Stage {
    pub floe: Talker,
    pub browser: Talker,
    pub version: String,
    _serve: Talker,
    _turn: Option<Coturn>,
    _network: Network,
}

pub fn is(what: &'static str, value: &'static str) -> impl Fn(&Value) -> bool {
    move |said| said[what] == value
}

/// Has all else go to this host: a browser takes the addresses of the link that leads to the world.
pub fn lead_to_the_world(gateway: &str, gateway6: &str) -> Result<(), String> {
    for (family, gateway) in [("-4", gateway), ("-6", gateway6)] {
        let route = ["route", "add", "default", "via", gateway];
        let output = Command::new("ip").arg(family).args(route).output();
        output.map_err(|error| format!("ip: {error}"))?;
    }
    Ok(())
}

/// Starts a server on the host across, and returns the URL of a room.
pub fn serve(floe: &Path, network: &Network) -> Result<(Talker, String), String> {
    let address = format!("{}:{PORT}", SERVERS[0]);
    let mut serve = Command::new(floe);
    serve.args(["serve", "--listen", &address]);
    let mut serve = network.server.run(move || Talker::start("serve", serve));
    serve.until("where it is", SOON, |said| said.to_string().contains("http://"))?;
    Ok((serve, format!("http://{address}/room/matrix")))
}

/// What opens the page of a room in a browser.
pub fn page(cell: Cell, url: &str) -> Command {
    let mut script = Command::new("node");
    script.current_dir(env!("CARGO_MANIFEST_DIR")).args(["page.mjs", cell.browser, url]);
    if !cell.mdns {
        script.arg("raw");
    }
    script
}

/// Opens it on the host of this thread, and returns the version of the browser.
pub fn open_page(script: Command) -> Result<(Talker, String), String> {
    let mut browser = Talker::start("browser", script);
    // It has processes of its own to end.
    browser.farewell = Duration::from_secs(8);
    let (_, said) = browser.until("its version", START, |said| said["version"].is_string())?;
    Ok((browser, said["version"].as_str().unwrap_or_default().into()))
}

impl Stage {
    pub fn enter(floe: &Path, cell: Cell) -> Result<Self, String> {
        let network = Network::enter();
        lead_to_the_world("203.0.113.10", "2001:db8::10")?;
        let turn = (cell.options == RELAYED).then(|| Coturn::start(&network, &[]));
        let (serve, url) = serve(floe, &network)?;
        let mut tool = Command::new(floe);
        tool.args(["connect", "--json"]).args(cell.options).arg(&url);
        let tool = || network.server.run(move || Talker::start("floe", tool));
        // Who comes last offers.
        let (floe, (browser, version)) = match cell.offers {
            Offers::Floe => {
                let (mut browser, version) = open_page(page(cell, &url))?;
                browser.until("that it waits", SOON, is("status", "waiting for somebody else"))?;
                (tool(), (browser, version))
            }
            Offers::Browser => {
                let mut floe = tool();
                floe.until("that it waits", SOON, is("type", "joined"))?;
                (floe, open_page(page(cell, &url))?)
            }
        };
        let mut stage =
            Self { floe, browser, version, _serve: serve, _turn: turn, _network: network };
        stage.open()?;
        Ok(stage)
    }

    pub fn open(&mut self) -> Result<(), String> {
        self.floe.until("that the channel is open", SOON, is("type", "open"))?;
        self.browser.until("that the channel is open", SOON, |said| said["channel"] == true)?;
        Ok(())
    }

    /// What both said last.
    pub fn last(&mut self) -> String {
        self.floe.hear();
        self.browser.hear();
        format!("{}{}", self.floe.last(), self.browser.last())
    }

    /// Says something in both directions.
    pub fn talk(&mut self, text: &str) -> Result<(), String> {
        self.floe.tell(&format!("{text} from floe"))?;
        self.browser.tell(&format!("say {text} from the browser"))?;
        let wanted = format!("{text} from the browser");
        self.floe.until(&wanted, SOON, |said| said["text"] == wanted.as_str())?;
        let wanted = format!("{text} from floe");
        self.browser.until(&wanted, SOON, |said| said["log"]["text"] == wanted.as_str())?;
        Ok(())
    }

    /// Waits until both say that the same pair is selected: the browser counts a moment later.
    pub fn compare(&mut self) -> Result<String, String> {
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
            // An address that is hidden says nothing.
            let is_hidden = ["0.0.0.0", "::"].iter().any(|ip| ours["local"]["address"] == *ip);
            let same = ours["local"]["port"] == theirs["remote"]["port"]
                && ours["remote"]["port"] == theirs["local"]["port"]
                && (is_hidden || ours["local"]["address"] == theirs["remote"]["address"]);
            if same {
                let kind = |end: &str| ours[end]["type"].as_str().unwrap_or("?").to_owned();
                return Ok(format!("{} – {}", kind("local"), kind("remote")));
            }
            if Instant::now() > end {
                return Err(format!("floe has {ours}, the browser {theirs:.400}\n"));
            }
        }
    }
}
