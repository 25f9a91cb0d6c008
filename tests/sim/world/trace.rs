//! What happened: as one running hash and, when asked for, as text, a capture and a chart.

use core::fmt::{self, Debug, Display, Write};
use std::env::var_os;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use floe::Instant;

use crate::world::capture::Capture;
use crate::world::chart::Chart;
use crate::world::network::Node;
use crate::world::rng::hash;
use crate::world::wire;

/// What happens to a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    Sent,
    Received,
    /// On a link.
    Lost,
    /// By a NAT or a firewall.
    Filtered,
}

impl Moment {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
            Self::Lost => "lost",
            Self::Filtered => "filtered",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    text: bool,
    line: String,
    capture: Option<Capture>,
    chart: Option<Chart>,
}

impl Trace {
    pub(crate) fn new() -> Self {
        Self {
            hash: hash(b"floe"),
            text: var_os("SIM_TRACE").is_some(),
            line: String::new(),
            capture: file("SIM_PCAP", &PCAPS).map(Capture::new),
            chart: file("SIM_CHART", &CHARTS).map(Chart::new),
        }
    }

    /// The hash of everything so far.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// Something happened to a datagram of the node `sender` at `node`.
    pub(crate) fn packet(
        &mut self,
        now: Instant,
        moment: Moment,
        [sender, node]: [Option<Node>; 2],
        [from, to]: [SocketAddr; 2],
        octets: &[u8],
    ) {
        self.fold(now, &[moment as u8]);
        self.fold_address(from);
        self.fold_address(to);
        self.hash = mix(self.hash, octets);
        if self.text {
            let (what, says) = (moment.name(), wire::describe(octets));
            eprintln!("{} {what} {from} > {to} {says}", clock(now));
        }
        let here = if moment == Moment::Received { node } else { sender.or(node) };
        if let (Some(capture), Some(here)) = (&mut self.capture, here) {
            capture.packet(now, moment, here, [from, to], octets);
        }
        if let Some(chart) = self.chart.as_mut().filter(|_| moment != Moment::Sent) {
            chart.packet(now, moment, [sender, node], [from, to], octets);
        }
    }

    pub(crate) fn event(&mut self, now: Instant, who: impl Display, event: &impl Debug) {
        let mut line = core::mem::take(&mut self.line);
        line.clear();
        let _ = write!(line, "{who} {event:?}");
        self.fold(now, line.as_bytes());
        if self.text {
            eprintln!("{} {line}", clock(now));
        }
        self.line = line;
    }

    /// Something for the chart alone.
    pub(crate) fn note(&mut self, now: Instant, node: Node, what: impl Display) {
        if let Some(chart) = &mut self.chart {
            chart.note(now, node, what.to_string());
        }
    }

    fn fold(&mut self, now: Instant, octets: &[u8]) {
        self.hash = mix(self.hash, &now.as_nanos().to_le_bytes());
        self.hash = mix(self.hash, octets);
    }

    fn fold_address(&mut self, address: SocketAddr) {
        self.hash = match address.ip() {
            IpAddr::V4(ip) => mix(self.hash, &ip.octets()),
            IpAddr::V6(ip) => mix(self.hash, &ip.octets()),
        };
        self.hash = mix(self.hash, &address.port().to_le_bytes());
    }
}

static PCAPS: AtomicU32 = AtomicU32::new(0);
static CHARTS: AtomicU32 = AtomicU32::new(0);

/// The file that a variable names, with a number behind it for every world after the first.
fn file(variable: &str, made: &AtomicU32) -> Option<PathBuf> {
    let mut path = var_os(variable)?;
    match made.fetch_add(1, Ordering::Relaxed) {
        0 => {}
        number => path.push(format!(".{number}")),
    }
    Some(path.into())
}

/// Seconds since the world began.
pub(crate) fn clock(now: Instant) -> String {
    format!("{:>12.6}", now.since(crate::world::BEGINNING).as_secs_f64())
}

impl Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Host(id) => format!("host {id}"),
            Self::Gateway(id) => format!("gateway {id}"),
            Self::Server(id) => format!("stun {id}"),
            Self::Turn(id) => format!("turn {id}"),
            Self::Nowhere => "nowhere".to_owned(),
        };
        f.pad(&text)
    }
}

/// Folds `octets` and how many they are into a running hash, eight at a time.
fn mix(state: u64, octets: &[u8]) -> u64 {
    let fold = |state: u64, word: u64| {
        let x = (state.rotate_left(25) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x ^ (x >> 32)
    };
    let (words, rest) = octets.as_chunks::<8>();
    let state = words.iter().fold(state, |state, word| fold(state, u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    fold(fold(state, u64::from_le_bytes(last)), octets.len() as u64)
}
