//! What a ufrag and a password may look like.

use core::ops::RangeInclusive;

use crate::candidate::Credentials;

/// The length of a ufrag that is received, characters. [rfc8839-5.4-5b] [rfc8839-5.4-p1]
const UFRAG: RangeInclusive<usize> = 4..=256;
/// The length of a ufrag that is sent, characters. [rfc8839-5.4-5a]
const UFRAG_SENT: RangeInclusive<usize> = 4..=32;
/// The length of a password, characters. [rfc8839-5.4-p1] [rfc8839-5.4-4]
const PASSWORD: RangeInclusive<usize> = 22..=256;

impl Credentials {
    /// Returns whether the grammar lets an agent send these as its own: letters, digits, `+` and
    /// `/`, 4 to 32 of them in the ufrag and 22 to 256 in the password. [rfc8839-5.4-5a]
    /// [rfc8839-5.4-p1]
    ///
    /// What a peer sends is held to less: 4 to 256 and 22 to 256 visible ASCII characters.
    #[must_use]
    pub fn is_sendable(&self) -> bool {
        UFRAG_SENT.contains(&self.ufrag.len())
            && PASSWORD.contains(&self.password.len())
            && self.ufrag.bytes().chain(self.password.bytes()).all(is_ice_char)
    }

    /// Returns whether a peer may send these.
    pub(crate) fn is_readable(&self) -> bool {
        is_ufrag(&self.ufrag) && is_password(&self.password)
    }
}

/// Returns whether a peer may send the text as its ufrag.
pub(super) fn is_ufrag(text: &str) -> bool {
    UFRAG.contains(&text.len()) && is_visible(text)
}

/// Returns whether a peer may send the text as its password.
pub(super) fn is_password(text: &str) -> bool {
    PASSWORD.contains(&text.len()) && is_visible(text)
}

/// Returns whether the text is made of visible ASCII characters only.
pub(super) fn is_visible(text: &str) -> bool {
    text.bytes().all(|octet| octet.is_ascii_graphic())
}

fn is_ice_char(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || octet == b'+' || octet == b'/'
}
