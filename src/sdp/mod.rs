//! The ICE attributes of SDP: candidate lines, descriptions and fragments.
//! [RFC 8839] [RFC 8838] [RFC 8840]
//!
//! The reader is tolerant, the writer exact:
//!
//! | a peer sends | what is read |
//! |---|---|
//! | a candidate of an unknown transport or type, of an unknown kind of address, or of a name that is not an mDNS name | nothing: in a body the line is skipped, alone it is a [`CandidateError`] for which [`CandidateError::is_unsupported`] holds |
//! | a candidate line that does not scan | a [`ParseError`] with the number of the line, as in browsers: what is damaged is shown, not lost in silence |
//! | an unknown attribute, or an unknown pair at the end of a candidate | skipped, or kept in [`Candidate::extensions`] |
//! | attribute names, transports and types in capitals | the same as in small letters |
//! | a reflexive or relayed candidate without a related address, or with one that is none | the hidden related address, 0.0.0.0 or :: port 9 |
//! | a host candidate with a related address | a host candidate |
//! | a TCP candidate without `tcptype` | a passive one |
//! | a ufrag or password of characters that the grammar does not have | as it is, if they are visible ASCII: deployed peers send `-` and `_` |
//!
//! Bodies beyond [`MAX_BODY`] octets and [`MAX_CANDIDATES`] candidate lines are refused. Reading
//! takes time proportional to the length of the text.
//!
//! ```
//! use floe::candidate::Candidate;
//! let line = "candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host generation 0";
//! let candidate: Candidate = line.parse()?;
//! assert_eq!(candidate.socket_address(), Some("192.0.2.1:5000".parse().unwrap()));
//! assert_eq!(candidate.to_string(), line);
//! # Ok::<(), floe::sdp::CandidateError>(())
//! ```

mod body;
mod credentials;
mod error;
mod fragment;
mod line;
mod read;
mod write;

use core::time::Duration;
use std::net::SocketAddr;

use crate::candidate::{Candidate, Credentials};

pub use error::{CandidateError, ParseError, ParseErrorKind};
pub use fragment::{Fragment, FragmentSection};

/// The longest body that is read, octets.
pub const MAX_BODY: usize = 64 * 1024;
/// The most candidate lines that are read from one body.
pub const MAX_CANDIDATES: usize = 1_000;
/// The longest candidate line that is read, octets.
pub const MAX_CANDIDATE_LINE: usize = 4 * 1024;

/// The `ice-options` of a description. [rfc8839-5.6-p1]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IceOptions {
    /// RFC 8445 is supported. [rfc8445-10-1]
    pub ice2: bool,
    /// Trickle ICE is supported. [RFC 8838]
    pub trickle: bool,
    /// The controlling side may nominate anew.
    pub renomination: bool,
    /// Other options, in the order given; at most 32 are read.
    pub other: Vec<String>,
}

/// What one side says of one data stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamDescription {
    /// The `mid` of the section.
    pub mid: Option<String>,
    /// ufrag and password; `None` if the section shows no ICE support.
    pub credentials: Option<Credentials>,
    /// The candidates, in the order conveyed.
    pub candidates: Vec<Candidate>,
    /// Whether no further candidates will come.
    pub end_of_candidates: bool,
    /// The `remote-candidates`: component and address that the controlling side selected.
    pub remote_candidates: Vec<(u16, SocketAddr)>,
    /// `ice-mismatch`: ICE cannot be used for this stream. [rfc8839-5.3-1a]
    pub mismatch: bool,
    /// The section has port 0, and is not merely `bundle-only`.
    pub rejected: bool,
    /// The default destination (`c=` and `m=`), `None` for a name or a placeholder
    /// (0.0.0.0 or :: port 9): with these ICE goes on as usual, there is nothing that could be a
    /// mismatch. [rfc8839-4.2.5-4a] [rfc8839-4.2.5-4b] [rfc8839-4.2.5-6a] [rfc8839-4.2.5-6b]
    /// [rfc8840-4.1.2-2] [rfc8840-4.1.4-1]
    pub default_destination: Option<SocketAddr>,
}

/// What one side says of its ICE: the ICE view of an SDP body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Description {
    /// Whether the side is lite.
    pub lite: bool,
    /// The options that hold for every stream.
    pub options: IceOptions,
    /// The proposed Ta, in whole milliseconds; `None` for a lite side. [rfc8839-5.5-p1]
    pub pacing: Option<Duration>,
    /// The mids of the BUNDLE group, in the order given; empty without one.
    pub bundle: Vec<String>,
    /// The data streams, one for each `m=` section.
    pub streams: Vec<StreamDescription>,
}

/// What a body needs around the ICE attributes. See [`Description::to_sdp`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionTemplate {
    /// The session id of the `o=` line: the same for all bodies of one session.
    pub session_id: u64,
    /// The session version of the `o=` line: one more for each new body.
    pub version: u64,
    /// The `m=` line of each section, with `{port}` in place of the port.
    pub media: String,
    /// More lines for each section, such as `a=sctp-port:5000`, without line ends. One with a
    /// control character is left out.
    pub attributes: Vec<String>,
}

impl Default for SessionTemplate {
    fn default() -> Self {
        Self {
            session_id: 1,
            version: 1,
            media: String::from("application {port} UDP/DTLS/SCTP webrtc-datachannel"),
            attributes: Vec::new(),
        }
    }
}

impl SessionTemplate {
    /// Makes the template of a data channel.
    #[must_use]
    pub fn new(session_id: u64, version: u64) -> Self {
        Self { session_id, version, ..Self::default() }
    }
}
