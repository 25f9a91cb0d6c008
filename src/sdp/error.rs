//! Why a line or a body was not read.

use core::error::Error;
use core::fmt;

/// Why a candidate line was not read: the field that is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CandidateError {
    /// The line does not begin with `candidate:`. An empty string is how browsers spell the end
    /// of candidates.
    NotACandidate,
    /// The line is longer than [`MAX_CANDIDATE_LINE`](crate::sdp::MAX_CANDIDATE_LINE).
    TooLong,
    /// The first field, the foundation, is not 1 to 32 visible characters.
    Foundation,
    /// The second field, the component ID, is not 1 to 256.
    Component,
    /// The third field, the transport, is neither `udp` nor `tcp`. Ignore the candidate.
    Transport,
    /// The fourth field, the priority, is not a number of 32 bits.
    Priority,
    /// The fifth field, the address, is neither an IP address nor a name. Ignore the candidate.
    Address,
    /// The sixth field, the port, is not 0 to 65535.
    Port,
    /// The seventh field is not `typ`.
    Typ,
    /// The eighth field, the type, is unknown. Ignore the candidate.
    Kind,
    /// The `tcptype` of a TCP candidate is not `active`, `passive` or `so`.
    TcpType,
}

impl CandidateError {
    /// Returns whether the line may well be sound but is of a sort that is not known here, so
    /// that the candidate is to be ignored without a fuss. [rfc8839-5.1-2] [rfc8839-5.1-p1]
    #[must_use]
    pub const fn is_unsupported(self) -> bool {
        matches!(self, Self::Transport | Self::Address | Self::Kind)
    }
}

impl fmt::Display for CandidateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotACandidate => "the line does not begin with \"candidate:\"",
            Self::TooLong => "the candidate line is longer than 4096 octets",
            Self::Foundation => "field 1, the foundation, is not 1 to 32 visible characters",
            Self::Component => "field 2, the component, is not 1 to 256",
            Self::Transport => "field 3, the transport, is unknown",
            Self::Priority => "field 4, the priority, is not a number of 32 bits",
            Self::Address => "field 5, the address, is neither an IP address nor a name",
            Self::Port => "field 6, the port, is not 0 to 65535",
            Self::Typ => "field 7 is not \"typ\"",
            Self::Kind => "field 8, the candidate type, is unknown",
            Self::TcpType => "the tcptype is not active, passive or so",
        })
    }
}

impl Error for CandidateError {}

/// What is wrong with a line of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ParseErrorKind {
    /// The body is longer than [`MAX_BODY`](crate::sdp::MAX_BODY).
    TooLong,
    /// There are more than [`MAX_CANDIDATES`](crate::sdp::MAX_CANDIDATES) candidate lines.
    TooManyCandidates,
    /// The body does not begin with a `v=` line.
    NotSdp,
    /// An `m=` line has no port.
    Media,
    /// A candidate line does not scan.
    Candidate(CandidateError),
    /// The `ice-ufrag` is not 4 to 256 visible ASCII characters.
    Ufrag,
    /// The `ice-pwd` is not 22 to 256 visible ASCII characters.
    Password,
    /// The `ice-pacing` is not a number of at most ten digits.
    Pacing,
    /// The `remote-candidates` are not triples of component, address and port.
    RemoteCandidates,
    /// Two streams have one ufrag but two passwords. [rfc8839-5.4-2]
    PasswordsDiffer,
}

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ParseError {
    /// The number of the line at fault, from 1.
    pub line: u32,
    /// What is wrong with it.
    pub kind: ParseErrorKind,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        f.write_str(match self.kind {
            ParseErrorKind::TooLong => "the body is longer than 64 KiB",
            ParseErrorKind::TooManyCandidates => "there are more than 1000 candidate lines",
            ParseErrorKind::NotSdp => "the body does not begin with \"v=\"",
            ParseErrorKind::Media => "the m= line has no port",
            ParseErrorKind::Candidate(error) => return error.fmt(f),
            ParseErrorKind::Ufrag => "the ice-ufrag is not 4 to 256 visible characters",
            ParseErrorKind::Password => "the ice-pwd is not 22 to 256 visible characters",
            ParseErrorKind::Pacing => "the ice-pacing is not a number of at most ten digits",
            ParseErrorKind::RemoteCandidates => {
                "the remote-candidates are not triples of component, address and port"
            }
            ParseErrorKind::PasswordsDiffer => "two streams have one ufrag but two passwords",
        })
    }
}

impl Error for ParseError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        if let ParseErrorKind::Candidate(error) = &self.kind { Some(error) } else { None }
    }
}
