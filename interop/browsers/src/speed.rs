//! How soon a page is connected to floe, and to another page, over a cable that takes its time.

use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use lab::{Network, Talker, on_a_host};
use serde_json::Value;

use crate::stage::{Cell, Offers, SOON, is, lead_to_the_world, open_page, page, serve};

/// What the cable takes in one direction.
const FAR: Duration = Duration::from_millis(25);
/// Sessions of which the median counts.
const TIMED: usize = 7;

/// How much later than with itself the channel of a page may be open with floe: the medians are of
/// few sessions, on a machine that has more to do.
const LATE: u64 = 100;

/// From the peer's arrival in the room until ICE is connected, and until the channel is open, in
/// milliseconds, as the page has them.
pub type Times = [u64; 2];

/// How soon a page is connected to floe, and to another page of the same browser: medians.
pub struct Speed {
    pub cell: Cell,
    pub floe: Times,
    pub itself: Times,
}

/// Measures both; fails if floe is the slower one by far. They take turns, so that what else the
/// machine has to do falls to both.
pub fn measure(floe: &Path, cell: Cell) -> Result<Speed, String> {
    let (to_floe, turn_of_floe) = mpsc::channel();
    let (to_page, turn_of_page) = mpsc::channel();
    let (with_floe, itself) = thread::scope(|scope| {
        let _ = to_floe.send(());
        let turns = Turns { mine: turn_of_floe, others: to_page };
        let with_floe = scope.spawn(|| on_a_host(|| sessions(floe, cell, Peer::Floe, turns)));
        let turns = Turns { mine: turn_of_page, others: to_floe };
        let itself = on_a_host(|| sessions(floe, cell, Peer::Page, turns));
        (with_floe.join().unwrap_or_else(|_| Err("it panicked".into())), itself)
    });
    let (with_floe, itself) = (with_floe?, itself?);
    let (floe, own) = (medians(&with_floe), medians(&itself));
    if floe[1] > own[1] + LATE {
        let late = format!("open after {} ms, with itself after {} ms", floe[1], own[1]);
        return Err(format!("{late}; all of them: {with_floe:?}, {itself:?}"));
    }
    Ok(Speed { cell, floe, itself: own })
}

/// Whose turn it is. Where the other one is gone, it is always mine.
struct Turns {
    mine: Receiver<()>,
    others: Sender<()>,
}

/// What stays in the room while the page comes and goes, or comes and goes itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Peer {
    Floe,
    /// Another page, in the same browser.
    Page,
}

/// Some sessions of a page with a peer.
fn sessions(floe: &Path, cell: Cell, peer: Peer, turns: Turns) -> Result<Vec<Times>, String> {
    let network = Network::enter_far(FAR);
    lead_to_the_world("203.0.113.10", "2001:db8::10")?;
    network.server.run(|| lead_to_the_world("203.0.113.1", "2001:db8::1"))?;
    let (_serve, url) = serve(floe, &network)?;
    let tool = || {
        let mut tool = Command::new(floe);
        tool.args(["connect", "--json"]).arg(&url);
        network.server.run(move || Talker::start("floe", tool))
    };
    let mut other = match peer {
        Peer::Floe => {
            let mut floe = tool();
            floe.until("that it waits", SOON, is("type", "joined"))?;
            floe
        }
        Peer::Page => {
            let script = page(cell, &url);
            let (mut other, _) = network.server.run(move || open_page(script))?;
            other.until("that it waits", SOON, is("status", "waiting for somebody else"))?;
            other
        }
    };
    let (mut measured, _) = open_page(page(cell, &url))?;
    let is_open = |said: &Value| said["channel"] == true;
    measured.until("that the channel is open", SOON, is_open)?;
    let mut times = Vec::new();
    for _ in 0..TIMED {
        let _ = turns.mine.recv();
        match (cell.offers, peer) {
            (Offers::Browser, _) => measured.tell("reload")?,
            (Offers::Floe, Peer::Page) => other.tell("reload")?,
            (Offers::Floe, Peer::Floe) => {
                other.tell("/quit")?;
                let alone = is("status", "waiting for somebody else");
                measured.until("that it is alone", SOON, alone)?;
                other = tool();
            }
        }
        measured.until("that somebody is there", SOON, is("status", "connecting"))?;
        measured.until("that the channel is open", SOON, is_open)?;
        times.push(last_session(&measured).ok_or("the page has no times")?);
        let _ = turns.others.send(());
    }
    Ok(times)
}

/// The median of each.
fn medians(times: &[Times]) -> Times {
    [0, 1].map(|which| {
        let mut all: Vec<u64> = times.iter().map(|times| times[which]).collect();
        all.sort_unstable();
        all.get(all.len() / 2).copied().unwrap_or_default()
    })
}

/// What the page's clock says of its last session.
fn last_session(page: &Talker) -> Option<Times> {
    let said: Vec<&Value> = page.said.iter().map(|(_, said)| said).collect();
    let began = said.iter().rposition(|said| said["status"] == "connecting")?;
    let session = said.get(began..)?;
    let at = |wanted: fn(&Value) -> bool| {
        session.iter().find(|said| wanted(said)).and_then(|said| said["at"].as_u64())
    };
    let began = at(|_| true)?;
    let connected = at(|said| said["ice"] == "connected" || said["ice"] == "completed")?;
    let open = at(|said| said["channel"] == true)?;
    Some([connected.saturating_sub(began), open.saturating_sub(began)])
}
