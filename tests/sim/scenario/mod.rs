//! Scenarios: one number, or a fuzzer's octets, says where two parties are, what is wrong with the
//! world between them, and what happens; then it is played, and judged.

mod draw;
mod judge;
mod make;
mod play;
mod shrink;
mod text;
mod verbs;

use core::fmt;
use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::oracle::Class;
use crate::topology::{Place, Topology};
use crate::world::link::Link;
use crate::world::nat::Reboot;
use crate::world::{Seed, World};
pub(crate) use draw::Draw;
pub(crate) use shrink::{follow, shrink};

/// What one scenario is, as plain data.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// Of all randomness while it is played.
    pub(crate) seed: u64,
    pub(crate) topology: Topology,
    /// All links until they are healed.
    pub(crate) links: Link,
    pub(crate) signalling: Signalling,
    pub(crate) sides: [SideConfig; 2],
    /// How many components the one stream has.
    pub(crate) components: u16,
    /// All candidates go in one description.
    pub(crate) vanilla: bool,
    /// Hosts are woken early and twice, which must change nothing.
    pub(crate) nagging: bool,
    /// Up to how much too late hosts are woken.
    pub(crate) lateness: Duration,
    /// What happens, in order.
    pub(crate) script: Vec<Step>,
    /// A planted violation, for the test of shrinking.
    pub(crate) planted: Option<&'static str>,
}

/// What is wrong with the signalling until it is healed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Signalling {
    pub(crate) delay: Duration,
    /// Up to this much more, for each message apart: so that they overtake one another.
    pub(crate) jitter: Duration,
    pub(crate) loss: f64,
    pub(crate) duplicate: f64,
    /// Candidates come this much later than descriptions.
    pub(crate) candidates_late: Duration,
    /// The share of candidates that never come.
    pub(crate) candidates_lost: f64,
    /// The share of candidates that are said again much later, after a restart perhaps.
    pub(crate) stale: f64,
    /// Nobody hears of the end of candidates.
    pub(crate) endless: bool,
}

/// How a side's agent is configured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct SideConfig {
    /// The other role than its part of the call asks for.
    pub(crate) wrong_role: bool,
    pub(crate) lite: bool,
    pub(crate) half_trickle: bool,
    pub(crate) no_backup: bool,
    pub(crate) strict_consent: bool,
    pub(crate) rfc_backoff: bool,
    pub(crate) no_renomination: bool,
    /// New interfaces join the session.
    pub(crate) continual: bool,
    /// The least time between checks that it proposes, in milliseconds; 0 for the default.
    pub(crate) ta: u16,
}

/// Something that happens at a time since the beginning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) at: Duration,
    pub(crate) verb: Verb,
}

/// Who is at the other end of a path that is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Far {
    Peer,
    Stun,
    Turn(usize),
}

/// What the clock of a host does while it is suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    GoesOn,
    Stops,
}

/// What happens. A side, network or server that there is none of stands for nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verb {
    Restart(usize),
    RestartBoth,
    /// The NAT of a network forgets its mappings.
    RebootNat(usize, Reboot),
    StunDies,
    StunRecovers,
    TurnDies(usize),
    /// Dies, and never comes back.
    TurnDiesForEver(usize),
    TurnRecovers(usize),
    /// Loses all its state.
    TurnRestarts(usize),
    TurnForgetsPermissions(usize),
    TurnForgetsChannels(usize),
    /// Nothing passes between a side and somebody any more, in both directions or in one.
    Cut(usize, Far),
    CutOutwards(usize, Far),
    Heal(usize, Far),
    /// ICMP errors in place of what a side sends to the other one.
    Unreachable(usize, Duration),
    /// What both send to one another arrives only when this is over, all at once.
    Clog(usize, Far, Duration),
    /// An interface of a side goes silent for ever, and nobody tells the agent.
    Unplug(usize, usize),
    /// A side gets an interface more, in the place where its first one is or on the Internet.
    Join(usize, Place),
    /// An interface of a side is gone, and the agent is told.
    Leave(usize, usize),
    /// An interface of a side has another address.
    Renumber(usize, usize),
    /// A side hears of its system that the network changed, which is not so.
    NetworkChanged(usize),
    /// A side is suspended: what is sent to it is lost.
    Sleep(usize, Duration, Clock),
    /// The process of a side stands still while datagrams wait in its sockets.
    StandStill(usize, Duration),
    SetClockBack(usize, Duration),
    /// The system of a side refuses to send this share of its datagrams.
    Refuse(usize, f64, Duration),
    LossBurst(f64, Duration),
    Talk(usize, Duration),
    Hush(usize),
    /// No message of the signalling passes for this long.
    SignallingDies(Duration),
    /// All messages of the signalling wait for this long.
    SignallingWaits(Duration),
    Close(usize),
}

/// What a scenario came to.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// The virtual time that passed.
    pub(crate) virtual_time: Duration,
    pub(crate) packets: u64,
    /// What the oracle expects in the end.
    pub(crate) class: Class,
    /// From when both knew each other until both could send, the first time.
    pub(crate) connected: Option<Duration>,
    /// Of everything that happened.
    pub(crate) trace: u64,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Which one: `I-1` … `I-20`.
    pub(crate) id: String,
    pub(crate) what: String,
    /// When, since the beginning.
    pub(crate) at: Duration,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} after {:.6} s: {}", self.id, self.at.as_secs_f64(), self.what)
    }
}

impl Scenario {
    pub(crate) fn of_seed(seed: u64) -> Self {
        Self::draw(&mut Draw::of_seed(seed))
    }

    /// Plays the scenario and judges it. A panic is a violation: of I-6, or of the invariant that
    /// its message begins with.
    pub(crate) fn run(&self) -> Result<Report, Violation> {
        let world = World::new(Seed(self.seed));
        let played = catch_unwind(AssertUnwindSafe(|| play::play(&world, self)));
        world.needs_no_audit();
        played.unwrap_or_else(|panic| {
            let message = panic.downcast_ref::<String>().map(String::as_str);
            let message = message.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
            let named = message.split_once(": ").filter(|(id, _)| id.starts_with("I-"));
            let (id, what) = named.unwrap_or(("I-6", message));
            Err(Violation { id: id.to_owned(), what: what.to_owned(), at: world.elapsed() })
        })
    }
}

/// Plays the scenario that `octets` say, and panics if it breaks a promise: for a fuzzer.
#[allow(dead_code, reason = "for the fuzzer, which includes this module")]
pub(crate) fn run_octets(octets: &[u8]) {
    let scenario = Scenario::draw(&mut Draw::of_octets(octets));
    if let Err(violation) = scenario.run() {
        panic!("{scenario}{violation}");
    }
}
