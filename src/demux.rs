//! Which protocol a datagram belongs to, by its first octet (RFC 7983, RFC 9443).

/// The protocol that a datagram on a shared port belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Class {
    /// STUN, first octet 0..=3.
    Stun,
    /// ZRTP, first octet 16..=19.
    Zrtp,
    /// DTLS, first octet 20..=63.
    Dtls,
    /// A TURN channel (64..=79) when a TURN server sent it; from anybody else the same octets
    /// are QUIC.
    TurnChannel,
    /// RTP or RTCP, first octet 128..=191.
    Rtp,
    /// QUIC, first octet 80..=127 or 192..=255.
    Quic,
    /// No known protocol (4..=15, or an empty datagram).
    Unknown,
}

impl Class {
    /// Classifies a datagram by its first octet. [rfc7983-7-p1] [rfc9443-3-p1]
    ///
    /// The range 64..=79 is reported as [`Class::TurnChannel`]; the caller knows whether the
    /// sender is a TURN server.
    #[must_use]
    pub fn of(datagram: &[u8]) -> Self {
        match datagram.first() {
            Some(0..=3) => Self::Stun,
            Some(16..=19) => Self::Zrtp,
            Some(20..=63) => Self::Dtls,
            Some(64..=79) => Self::TurnChannel,
            Some(128..=191) => Self::Rtp,
            Some(80..=127 | 192..=255) => Self::Quic,
            Some(4..=15) | None => Self::Unknown,
        }
    }
}

/// Which datagrams of an authenticated 5-tuple are application data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataClass {
    /// Those whose first octet belongs to a known protocol: DTLS, RTP, QUIC, ZRTP. [RFC 7983]
    /// [RFC 9443]
    KnownProtocol,
    /// All that are not STUN, which is told by its magic cookie: for protocols that begin as they
    /// like.
    Any,
}

impl DataClass {
    /// Returns whether an endpoint so configured takes a datagram for application data.
    #[must_use]
    pub fn admits(self, datagram: &[u8]) -> bool {
        match self {
            Self::KnownProtocol => match Class::of(datagram) {
                Class::Stun | Class::Unknown => false,
                Class::Zrtp | Class::Dtls | Class::TurnChannel | Class::Rtp | Class::Quic => true,
            },
            Self::Any => !has_cookie(datagram),
        }
    }
}

/// Whether a datagram may be STUN: its leading bits and magic cookie say so. [rfc8489-5-3]
fn has_cookie(datagram: &[u8]) -> bool {
    let cookie = crate::stun::MAGIC_COOKIE.to_be_bytes();
    datagram.first().is_some_and(|first| *first < 4) && datagram.get(4..8) == Some(&cookie)
}
