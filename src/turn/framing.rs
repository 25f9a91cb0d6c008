//! How application data travels between client and server: ChannelData, Send and Data.

use core::net::{IpAddr, SocketAddr};
use core::ops::Range;

use crate::net::{HEADROOM, TAILROOM};
use crate::stun::{AttributeType, Encoder, HEADER_LEN, MessageClass, Method, TransactionId};

/// The numbers that a channel may have. [rfc8656-12-p1]
pub(super) const CHANNELS: core::ops::RangeInclusive<u16> = 0x4000..=0x4FFF;

/// Octets before the data of a ChannelData message.
const CHANNEL_HEADER: usize = 4;

/// Whether ChannelData is padded to four octets. [rfc8656-12.5-2] [rfc8656-12.5-3]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Padding {
    /// Over streams.
    Four,
    /// In datagrams.
    None,
}

/// How data to one peer travels to the server.
///
/// It is good for one packet: the next may go otherwise, so ask
/// [`Client::framing`](super::Client::framing) for each.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing(Way);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Channel {
        number: u16,
        padding: Padding,
    },
    /// All octets before the value of DATA, at the end of the room for them; the lengths are
    /// filled in later.
    Send {
        header: [u8; HEADROOM],
        len: u8,
    },
}

impl Framing {
    pub(super) const fn channel(number: u16, padding: Padding) -> Self {
        Self(Way::Channel { number, padding })
    }

    /// The header of a Send indication. DONT-FRAGMENT goes to IPv4 peers alone: servers ignore it
    /// for IPv6. [rfc8656-11.1-2] [rfc8656-11.1-3] [rfc8656-5-p1]
    pub(super) fn send(peer: SocketAddr, dont_fragment: bool, id: TransactionId) -> Option<Self> {
        let mut header = [0; HEADROOM];
        let encoder = Encoder::new(&mut header, MessageClass::Indication, Method::SEND, id)
            .xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        let encoder = match peer.ip() {
            IpAddr::V4(_) if dont_fragment => encoder.flag(AttributeType::DONT_FRAGMENT),
            IpAddr::V4(_) | IpAddr::V6(_) => encoder,
        };
        let len = encoder.flag(AttributeType::DATA).finish().ok()?;
        header.copy_within(..len, HEADROOM - len);
        Some(Self(Way::Send { header, len: u8::try_from(len).ok()? }))
    }

    /// Returns whether it is a channel: the shortest header, and an indication that none is to be
    /// bound.
    #[must_use]
    pub const fn is_channel(&self) -> bool {
        matches!(self.0, Way::Channel { .. })
    }

    /// Returns what stands before a payload of `length` octets, how many of its last octets count,
    /// and how many zeros follow the payload. [rfc8656-18-1]
    #[inline]
    pub(crate) fn header(self, length: u16) -> Option<([u8; HEADROOM], usize, usize)> {
        let padding = usize::from(length).next_multiple_of(4) - usize::from(length);
        let [l0, l1] = length.to_be_bytes();
        match self.0 {
            Way::Channel { number, padding: pads } => {
                let [n0, n1] = number.to_be_bytes();
                let mut header = [0; HEADROOM];
                *header.last_chunk_mut()? = [n0, n1, l0, l1];
                let padding = match pads {
                    Padding::Four => padding,
                    Padding::None => 0,
                };
                Some((header, CHANNEL_HEADER, padding))
            }
            Way::Send { mut header, len } => {
                let len = usize::from(len);
                let body = u16::try_from(len - HEADER_LEN + usize::from(length) + padding).ok()?;
                *header.last_chunk_mut()? = [l0, l1];
                let lengths = header.get_mut(HEADROOM - len + 2..)?.first_chunk_mut()?;
                *lengths = body.to_be_bytes();
                Some((header, len, padding))
            }
        }
    }

    /// Writes the header before, and padding after, the payload `buf[payload]`, and returns the
    /// range of the whole packet. The payload stays where it is; the room around it is overwritten.
    ///
    /// `None` if `buf` lacks [`HEADROOM`] before or [`TAILROOM`] after it, or if the payload is
    /// longer than a datagram.
    #[must_use]
    #[inline]
    pub fn frame(self, buf: &mut [u8], payload: Range<usize>) -> Option<Range<usize>> {
        let length = u16::try_from(payload.end.checked_sub(payload.start)?).ok()?;
        if let Way::Channel { number, padding: Padding::None } = self.0 {
            let start = payload.start.checked_sub(CHANNEL_HEADER)?;
            let [n0, n1] = number.to_be_bytes();
            let [l0, l1] = length.to_be_bytes();
            *buf.get_mut(start..payload.end)?.first_chunk_mut()? = [n0, n1, l0, l1];
            return Some(start..payload.end);
        }
        let (header, len, padding) = self.header(length)?;
        let room = payload.start.checked_sub(HEADROOM)?;
        *buf.get_mut(room..)?.first_chunk_mut()? = header;
        *buf.get_mut(payload.end..)?.first_chunk_mut()? = [0; TAILROOM];
        Some(payload.start - len..payload.end + padding)
    }
}

/// Takes a ChannelData message apart: the number and the data. What follows the data is padding.
/// [rfc8656-12.6-p1] [rfc8656-12.5-3]
pub(super) fn channel_data(message: &[u8]) -> Option<(u16, &[u8])> {
    let (&[n0, n1, l0, l1], rest) = message.split_first_chunk::<CHANNEL_HEADER>()?;
    let number = u16::from_be_bytes([n0, n1]);
    let data = rest.get(..usize::from(u16::from_be_bytes([l0, l1])))?;
    CHANNELS.contains(&number).then_some((number, data))
}
