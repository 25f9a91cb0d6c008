//! The ICE attributes of SDP: candidate lines, descriptions and fragments.
//! [RFC 8839] [RFC 8838] [RFC 8840]
//!
//! The reader is tolerant, the writer exact.

use core::time::Duration;
use std::net::SocketAddr;

use crate::candidate::{Candidate, Credentials};

/// The `ice-options` of a description. [rfc8839-5.6-p1]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IceOptions {
    /// RFC 8445 is supported. [rfc8445-10-1]
    pub ice2: bool,
    /// Trickle ICE is supported. [RFC 8838]
    pub trickle: bool,
    /// The controlling side may nominate anew.
    pub renomination: bool,
    /// Other options, in the order given.
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
    /// The section has port 0.
    pub rejected: bool,
    /// The default destination (`c=` and `m=`), `None` for a name or a placeholder
    /// (0.0.0.0 or :: port 9).
    pub default_destination: Option<SocketAddr>,
}

/// What one side says of its ICE: the ICE view of an SDP body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Description {
    /// Whether the side is lite.
    pub lite: bool,
    /// The options.
    pub options: IceOptions,
    /// The proposed Ta. [rfc8839-5.5-p1]
    pub pacing: Option<Duration>,
    /// The data streams, one for each `m=` section.
    pub streams: Vec<StreamDescription>,
}
