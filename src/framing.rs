//! Finding the messages in a stream of octets: STUN and ChannelData over TCP and TLS.
//! [RFC 8489 §6.2.2] [RFC 8656 §12.5]

use core::fmt;
use core::ops::Range;

use crate::canary::{Bug, planted};
use crate::stun::MAGIC_COOKIE;

/// The most octets kept of a connection: the longest STUN message, which is longer than any
/// ChannelData.
pub const MAX_BUFFERED: usize = STUN_HEADER + 65532;

const STUN_HEADER: usize = 20;
const CHANNEL_DATA_HEADER: usize = 4;

/// A buffer holds this much of a message beside the room that is asked for, and shrinks to that
/// after a longer one.
const STEADY: usize = 4096;
/// How often in a row room is asked for without need of more before a buffer shrinks: a stream
/// that has long messages now and then keeps its room.
const QUIET: u8 = 64;

/// The stream cannot be followed any further: close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotStun;

impl fmt::Display for NotStun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the stream carries neither STUN nor ChannelData")
    }
}

impl core::error::Error for NotStun {}

/// Finds messages in the octets of one connection, however they were split on the way.
///
/// Read into the [`room`](Self::room), say how much came with [`filled`](Self::filled), and take
/// messages with [`next_message`](Self::next_message) until there is none. It keeps at most
/// [`MAX_BUFFERED`] octets, and allocates while the messages become longer, no more after that.
///
/// ```
/// use floe::framing::Deframer;
///
/// // ChannelData of 3 octets and the padding to 4, in two pieces.
/// let mut deframer = Deframer::new();
/// for piece in [&[0x40, 0x00, 0x00, 0x03, b'a'][..], &[b'b', b'c', 0x00]] {
///     assert_eq!(deframer.next_message(), Ok(None));
///     deframer.room(piece.len())[..piece.len()].copy_from_slice(piece);
///     deframer.filled(piece.len());
/// }
/// assert_eq!(deframer.next_message(), Ok(Some(&b"\x40\x00\x00\x03abc"[..])));
/// assert_eq!(deframer.next_message(), Ok(None));
/// ```
#[derive(Clone, Default)]
pub struct Deframer {
    buffer: Vec<u8>,
    /// Where the octets of the stream that nobody took yet are.
    kept: Range<usize>,
    /// How often room was asked for since it had to be more than usual.
    quiet: u8,
}

impl Deframer {
    /// Makes a deframer for a new connection. Nothing is allocated yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { buffer: Vec::new(), kept: 0..0, quiet: 0 }
    }

    /// Returns room for at least `least` more octets of the stream; say with
    /// [`filled`](Self::filled) how many were put there.
    ///
    /// It is less where more than [`MAX_BUFFERED`] would be kept, but never empty once
    /// [`next_message`](Self::next_message) has returned `Ok(None)`.
    pub fn room(&mut self, least: usize) -> &mut [u8] {
        let least = least.clamp(1, MAX_BUFFERED);
        let wanted = self.kept.len().saturating_add(least).min(MAX_BUFFERED);
        let steady = least.saturating_add(STEADY).next_power_of_two().min(MAX_BUFFERED);
        self.quiet = if wanted > steady { 0 } else { self.quiet.saturating_add(1) };
        let shrinks = self.quiet > QUIET && self.buffer.len() > steady;
        if shrinks || self.kept.end.saturating_add(least) > self.buffer.len() {
            self.buffer.copy_within(self.kept.clone(), 0);
            self.kept = 0..self.kept.len();
        }
        if shrinks {
            self.buffer.truncate(steady);
            self.buffer.shrink_to_fit();
        } else if wanted > self.buffer.len() {
            let length = wanted.next_power_of_two().min(MAX_BUFFERED);
            self.buffer.reserve_exact(length.saturating_sub(self.buffer.len()));
            self.buffer.resize(length, 0);
            self.quiet = 0;
        }
        self.buffer.get_mut(self.kept.end..).unwrap_or_default()
    }

    /// Notes that `octets` were put at the start of the [`room`](Self::room); more than there was
    /// room for is not believed.
    pub fn filled(&mut self, octets: usize) {
        debug_assert!(octets <= self.buffer.len() - self.kept.end, "more than there was room for");
        self.kept.end = self.kept.end.saturating_add(octets).min(self.buffer.len());
    }

    /// Returns the next complete message, without the padding after it; `None` until there is
    /// more. Both kinds tell how long they are, so they may be mixed. [rfc8489-6.2.2-1]
    /// [rfc8656-12.5-2]
    ///
    /// # Errors
    ///
    /// [`NotStun`] if what comes next is no message, from then on always.
    pub fn next_message(&mut self) -> Result<Option<&[u8]>, NotStun> {
        let kept = self.buffer.get(self.kept.clone()).unwrap_or_default();
        let Some(frame) = Frame::of(kept)?.filter(|frame| frame.padded <= kept.len()) else {
            return Ok(None);
        };
        let start = self.kept.start;
        self.kept.start = start.saturating_add(frame.padded);
        if self.kept.is_empty() {
            self.kept = 0..0;
        }
        Ok(self.buffer.get(start..start.saturating_add(frame.message)))
    }

    /// What came behind the last message: where a connection changes its protocol with that
    /// message, the first octets of the new one. [rfc6062-4.3-p1]
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        self.buffer.get(self.kept.clone()).unwrap_or_default()
    }
}

impl fmt::Debug for Deframer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deframer")
            .field("kept", &self.kept.len())
            .field("room", &self.buffer.len())
            .finish()
    }
}

/// How long a message is, by its first octets.
struct Frame {
    /// The message itself.
    message: usize,
    /// With the padding that follows it on a stream.
    padded: usize,
}

impl Frame {
    /// Looks at the beginning of a message; `None` if it is too short to tell.
    ///
    /// The two leading bits tell the protocols apart; 0x50..=0xFF is neither. What begins like STUN
    /// must have the magic cookie and a length in whole words, and each octet is judged when it is
    /// there: a connection to something else ends at once. [rfc8489-5-1]
    /// [rfc8489-5-3] [rfc8489-5-7]
    fn of(octets: &[u8]) -> Result<Option<Self>, NotStun> {
        let Some(first) = octets.first() else { return Ok(None) };
        let channel_data = match first {
            0x00..=0x3F => false,
            0x40..=0x4F => true,
            0x50..=0xFF => return Err(NotStun),
        };
        if !channel_data {
            let cookie = octets.get(4..).unwrap_or_default();
            if cookie.iter().zip(MAGIC_COOKIE.to_be_bytes()).any(|(is, cookie)| *is != cookie) {
                return Err(NotStun);
            }
        }
        let Some(&[_, _, high, low]) = octets.first_chunk::<4>() else { return Ok(None) };
        let body = usize::from(u16::from_be_bytes([high, low]));
        let header = if channel_data { CHANNEL_DATA_HEADER } else { STUN_HEADER };
        if !channel_data && !body.is_multiple_of(4) {
            return Err(NotStun);
        }
        let message = header.saturating_add(body);
        // Never nothing, which would never end.
        let wrapped = (message & 0xFFFF).max(4);
        let message = if planted(Bug::FrameLengthWraps) { wrapped } else { message };
        Ok(Some(Self { message, padded: message.next_multiple_of(4) }))
    }
}
