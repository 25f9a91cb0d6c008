//! Every knob, with its unit, default and clause.

use core::time::Duration;

use crate::candidate::Credentials;
pub use crate::demux::DataClass;
use crate::net::SocketId;

/// Who decides which pair is used. [RFC 8445 §6.1.1]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Nominates: the side that sent the offer, or the full side toward a lite one.
    Controlling,
    /// Follows the nomination.
    Controlled,
}

/// Full or lite. [RFC 8445 §2.5]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Gathers, checks, nominates.
    Full,
    /// Only answers checks: for a server on a public address.
    Lite,
}

/// How candidates travel. [RFC 8838]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trickle {
    /// One by one, as they are found.
    Full,
    /// Our first description waits for all our candidates; the peer may trickle.
    Half,
    /// All candidates in one description, both ways: ICE without RFC 8838.
    Off,
}

/// Whether gathering ever ends. [RFC 8838 §13]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gathering {
    /// Once a generation. Its end is signalled, so that the peer knows when there is nothing left
    /// to hope for; an address that turns up later waits for a restart, which is recommended.
    Once,
    /// As long as the agent lives. No end of candidates is signalled; an address that turns up
    /// later is trickled and checked at once, after a nomination where both sides know
    /// renomination. Once six bases have gone in one generation a restart is recommended for the
    /// next, as candidates that were signalled cannot be taken back. Only a full agent with full
    /// trickle does it; others gather once.
    Continual,
}

/// Which candidates are used. [RFC 8828]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CandidatePolicy {
    /// All of them.
    All,
    /// Relayed ones alone: nothing is sent but to TURN servers.
    Relay,
}

/// Whether the addresses of this machine are told. [RFC 8828]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HostAddresses {
    /// Host candidates have their addresses.
    Shown,
    /// Host candidates have random names below `.local`, one for each IP address and agent, which
    /// multicast DNS resolves on the local link alone; related addresses are hidden. What is
    /// signalled, statistics and selected pairs show no host address, neither ours nor one that is
    /// only known from a check of the peer's; [`SelectedPair::base`](crate::event::SelectedPair)
    /// and what the driver says of its own sockets do.
    ///
    /// Somebody has to answer for the names: the driver does with the feature `mdns`; without IO
    /// it is who drives the endpoint ([`Agent::host_names`](crate::Agent::host_names)). Where
    /// nobody does, the names are of no use, and of no harm. A lite agent shows its addresses
    /// whatever this says: it is where everybody can reach it.
    Named,
}

/// How checks are repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CheckBackoff {
    /// The letter of RFC 8445 §14.3 and RFC 8489 §6.2.1: retransmissions with doubling intervals,
    /// and a pair is frozen for as long as another of its foundation is checked.
    Rfc,
    /// The same toward a silent address. An address that sent an authenticated packet in this
    /// generation gets a fresh transaction at this steady interval until the pair is decided, and at
    /// twice the interval while eight of these wait for their answers. Pairs that are no better
    /// than one that works rest for a second, and one without an answer keeps others of its
    /// foundation frozen for 1 to 3 s. The check that nominates goes before the others of its
    /// checklist. If its path has answered within Ta, it goes before those of other checklists too
    /// and does not wait for Ta: the check after it waits for as much longer. A check of the peer's
    /// that comes before its answer to a restart is answered once it is repeated after that, but
    /// by a lite agent at once.
    Evidence {
        /// Time between the transactions, at least Ta.
        interval: Duration,
    },
}

/// What happens when an answer to a consent check is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConsentMode {
    /// The letter of RFC 7675: wait for the next one.
    Strict,
    /// Five ordinary checks verify the pair, from 0.5 to 2 s after the check whose answer is missing.
    /// Data that was flowing and stops has it verified at once.
    Verify,
}

/// What is kept beside a selected pair for when it dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BackupPolicy {
    /// Nothing: least power, and allocations end once a direct pair is selected.
    Off,
    /// Valid pairs over relays, with consent, for every component: one over the relay of each side
    /// that has one, as a pair survives the reboot of a NAT only over the relay of the other side.
    /// Beside a selected pair that uses a relay itself: over other servers, if there are any. They
    /// take over when the selected pair goes silent. Only where both sides know renomination, as
    /// without it no other pair may be used before a restart.
    Relay,
    /// The same, and beside a direct pair another direct one, from another base or to another
    /// address: data goes on within a round trip when an interface is gone.
    Full,
}

/// When the controlling agent nominates a valid pair. [RFC 8445 §8.1.1]
///
/// At once if no better class of pair is still possible. Where the peer does not know renomination a
/// pair over a relay is nominated for good: it waits for the peer's first check too, no longer than
/// `relay_wait`, and for better pairs until each had `relay_wait`, or the time of two checks, 5 s at
/// most.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Nomination {
    /// The least time that a direct pair waits for one of a better class; it waits for one RTT.
    /// Default 50 ms.
    pub direct_wait: Duration,
    /// How long a pair with a relay waits for a direct one. Default 500 ms.
    pub relay_wait: Duration,
    /// How long after a restart a component with a valid direct pair waits for a better one that is
    /// being checked, or may be told yet, where a nomination is for good and the generation before
    /// still works. Default 500 ms.
    pub restart_wait: Duration,
    /// How long after a pair over a relay was selected direct ones are tried again; then each time
    /// after twice as long, up to 300 s. Only where both sides know renomination;
    /// [`Duration::MAX`] for never. Default 5 s.
    pub retry_direct: Duration,
    /// Whether the extension is offered that lets the controlling side nominate anew.
    /// Default true.
    pub renomination: bool,
    /// The attribute type of NOMINATION, comprehension-optional. Default 0xC001.
    pub attribute: u16,
    /// A pair must be this much quicker to replace another of its class and priority.
    /// Default 10 ms.
    pub rtt_hysteresis: Duration,
}

impl Default for Nomination {
    fn default() -> Self {
        Self {
            direct_wait: Duration::from_millis(50),
            relay_wait: Duration::from_millis(500),
            restart_wait: Duration::from_millis(500),
            retry_direct: Duration::from_secs(5),
            renomination: true,
            attribute: 0xC001,
            rtt_hysteresis: Duration::from_millis(10),
        }
    }
}

/// Retransmission over UDP, and the wait over streams. [RFC 8489 §6.2]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retransmission {
    /// The first retransmission timeout. Default 500 ms. [rfc8489-6.2.1-2] [rfc8489-6.2.1-4]
    pub rto: Duration,
    /// Rc: how often a request is sent in all. Default 7. [rfc8489-6.2.1-11a] [rfc8489-6.2.1-11b]
    pub rc: u8,
    /// Rm: the last wait, in units of the RTO. Default 16. [rfc8489-6.2.1-13a]
    /// [rfc8489-6.2.1-13b]
    pub rm: u8,
    /// Ti: the wait over a stream. Default 39.5 s. [rfc8489-6.2.2-2a] [rfc8489-6.2.2-2b]
    pub ti: Duration,
}

impl Default for Retransmission {
    fn default() -> Self {
        Self { rto: Duration::from_millis(500), rc: 7, rm: 16, ti: Duration::from_millis(39_500) }
    }
}

/// Bounds on what one agent keeps and sends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Pairs in the checklist set: less where fewer are plausible. Default 100.
    /// [rfc8445-6.1.2.5-4] [rfc8445-6.1.2.5-1] [rfc8445-6.1.2.5-2]
    /// [rfc8445-19.5.1-1]
    pub pairs: u16,
    /// Remote candidates per stream and generation. Default 64. [rfc8445-19.5.1-2]
    pub remote_candidates: u16,
    /// Remote candidates per IP address, stream and generation. Default 8.
    pub remote_candidates_per_ip: u16,
    /// Remote peer-reflexive candidates per base and generation, and as many again of those that
    /// answered from elsewhere; those of sockets that are gone count with each base, and make room.
    /// Default 8.
    pub peer_reflexive: u16,
    /// Checks remembered until the remote credentials arrive; what nominates beyond them is refused.
    /// Default 32.
    pub early_checks: u16,
    /// Responses not yet sent, per agent. Default 8.
    pub responses_owed: u16,
    /// Packets per generation to addresses that never sent an authenticated one. Default 256.
    pub unverified_packets: u16,
    /// Octets per generation to such addresses. Default 36,864.
    pub unverified_octets: u32,
    /// Packets per generation to one IP address that answered no check in it; each check that comes
    /// from there gives one back. What was spent counts in later generations too, but for
    /// [`unverified_refill_per_ip`](Self::unverified_refill_per_ip). Default 56.
    pub unverified_packets_per_ip: u16,
    /// How much of what was spent on such an address a restart forgets, for each minute since the
    /// first packet. Default 56.
    pub unverified_refill_per_ip: u16,
    /// Restarts by the peer in five minutes. Default 10.
    pub remote_restarts: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pairs: 100,
            remote_candidates: 64,
            remote_candidates_per_ip: 8,
            peer_reflexive: 8,
            early_checks: 32,
            responses_owed: 8,
            unverified_packets: 256,
            unverified_octets: 36 * 1024,
            unverified_packets_per_ip: 56,
            unverified_refill_per_ip: 56,
            remote_restarts: 10,
        }
    }
}

/// The configuration of one agent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AgentConfig {
    /// The initial role; the agent that sent the offer is controlling. [rfc8445-6.1.1-1a]
    /// [rfc8445-6.1.1-1b]
    pub role: Role,
    /// Full or lite. Default full.
    pub mode: Mode,
    /// How many components each data stream has, 1..=256, numbered from 1. Default one stream of
    /// one component. [rfc8445-5.1.1.1-3]
    pub streams: Vec<u16>,
    /// The sockets to use, `None` for all of the endpoint.
    pub sockets: Option<Vec<SocketId>>,
    /// The first credentials; `None` draws them from the seed.
    pub credentials: Option<Credentials>,
    /// How candidates travel. Default full trickle.
    pub trickle: Trickle,
    /// Whether gathering ever ends. Default once: it works with every peer, and a restart brings
    /// later addresses in. Continual saves the restart between two that know renomination.
    pub gathering: Gathering,
    /// Which candidates are used. Default all.
    pub policy: CandidatePolicy,
    /// Whether host candidates tell their addresses. Default shown.
    pub host_addresses: HostAddresses,
    /// The Ta that we propose. Default 20 ms; the higher of both sides' counts, and a peer that
    /// says nothing counts as 50 ms. [rfc8445-14.2-1b] [rfc8445-14.2-2]
    pub ta: Duration,
    /// How checks are repeated. Default by evidence, every 150 ms.
    pub check_backoff: CheckBackoff,
    /// RTO, Rc and Rm of checks.
    pub retransmission: Retransmission,
    /// When a valid pair is nominated.
    pub nomination: Nomination,
    /// What is kept warm beside the selected pair. Default all that there is to keep.
    pub backup: BackupPolicy,
    /// What a missed consent answer leads to. Default verification.
    pub consent: ConsentMode,
    /// Period of consent checks before randomisation. Default 5 s, at least 4 s / 0.8.
    /// [rfc7675-5.1-4] [rfc7675-5.1-5]
    pub consent_period: Duration,
    /// The PAC timer. Default 39.5 s. [rfc8863-4-2]
    pub patience: Duration,
    /// Tr, the keepalive interval, at least 15 s. Default 15 s. [rfc8445-11-5] [rfc8445-11-6a]
    /// [rfc8445-11-9]
    pub keepalive: Duration,
    /// How long after completion unselected candidates are still served. Default 3 s.
    /// [rfc8445-8.3.1-1]
    pub linger: Duration,
    /// Whether remote candidates on loopback addresses are accepted. Default true: they reach
    /// this machine alone, where we listen only if a loopback socket was added.
    pub remote_loopback: bool,
    /// Whether remote candidates on link-local addresses are accepted: 169.254.0.0/16, where clouds
    /// keep services of their own, and fe80::/10. Default true.
    pub remote_link_local: bool,
    /// Whether addresses appear in logs. Default false.
    pub log_addresses: bool,
    /// Bounds.
    pub limits: Limits,
}

impl AgentConfig {
    /// The defaults for `role`.
    #[must_use]
    pub fn new(role: Role) -> Self {
        Self {
            role,
            mode: Mode::Full,
            streams: vec![1],
            sockets: None,
            credentials: None,
            trickle: Trickle::Full,
            gathering: Gathering::Once,
            policy: CandidatePolicy::All,
            host_addresses: HostAddresses::Shown,
            ta: Duration::from_millis(20),
            check_backoff: CheckBackoff::Evidence { interval: Duration::from_millis(150) },
            retransmission: Retransmission::default(),
            nomination: Nomination::default(),
            backup: BackupPolicy::Full,
            consent: ConsentMode::Verify,
            consent_period: Duration::from_secs(5),
            patience: Duration::from_millis(39_500),
            keepalive: Duration::from_secs(15),
            linger: Duration::from_secs(3),
            remote_loopback: true,
            remote_link_local: true,
            log_addresses: false,
            limits: Limits::default(),
        }
    }
}

/// The configuration of an endpoint.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndpointConfig {
    /// The least time between the starts of two transactions of all agents together. Default and
    /// minimum 5 ms. [rfc8445-14.2-4]
    pub pacing_floor: Duration,
    /// How long gathering may take in all, at most 5 s. Default 5 s.
    pub gather_timeout: Duration,
    /// How often a server-reflexive mapping is refreshed while it is needed. Default 15 s.
    /// [rfc8445-5.1.1.4-1] [rfc8445-5.1.1.4-2]
    pub mapping_refresh: Duration,
    /// How long TCP and TLS to a TURN server wait for the transport before them in the same group
    /// to answer. Default 300 ms.
    pub relay_stagger: Duration,
    /// TURN allocations of the endpoint, over all servers and sockets. Default 16.
    pub max_relays: u16,
    /// Peers for each allocation: permissions and channels. Default 64.
    pub max_relay_peers: u16,
    /// RTO, Rc, Rm and Ti of requests to servers.
    pub retransmission: Retransmission,
    /// Error replies per second to one IP address. Default 10.
    pub error_replies_per_ip: u16,
    /// Error replies per second in all. Default 50.
    pub error_replies: u16,
    /// The SOFTWARE attribute of requests to servers; checks never carry it. Default none.
    /// [rfc8489-16.1.2-1]
    pub software: Option<String>,
    /// Which datagrams of an authenticated 5-tuple are application data. Default
    /// [`DataClass::KnownProtocol`]. [rfc7983-7-1a] [rfc9443-3-2a]
    pub data_class: DataClass,
    /// Undrained events after which input is refused. Default 1,024.
    pub max_events: usize,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            pacing_floor: Duration::from_millis(5),
            gather_timeout: Duration::from_secs(5),
            mapping_refresh: Duration::from_secs(15),
            relay_stagger: Duration::from_millis(300),
            max_relays: 16,
            max_relay_peers: 64,
            retransmission: Retransmission::default(),
            error_replies_per_ip: 10,
            error_replies: 50,
            software: None,
            data_class: DataClass::KnownProtocol,
            max_events: 1024,
        }
    }
}
