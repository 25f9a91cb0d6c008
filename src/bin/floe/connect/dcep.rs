//! Opening a data channel within SCTP. [RFC 8832]

/// Opens a channel. [RFC 8832 §5.1]
const DATA_CHANNEL_OPEN: u8 = 3;
/// Says that it is open. [RFC 8832 §5.2]
const DATA_CHANNEL_ACK: u8 = 2;
/// Octets of an open message before the label.
const HEADER: usize = 12;

/// A message of the protocol.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Dcep {
    /// A channel of this label is opened.
    Open(String),
    /// It is open.
    Ack,
}

impl Dcep {
    /// Writes it; a channel is reliable and in order.
    pub(super) fn write(&self) -> Vec<u8> {
        let Self::Open(label) = self else { return vec![DATA_CHANNEL_ACK] };
        let length = u16::try_from(label.len()).unwrap_or(u16::MAX);
        let label = label.as_bytes().get(..usize::from(length)).unwrap_or_default();
        let mut message = vec![DATA_CHANNEL_OPEN, 0, 0, 0, 0, 0, 0, 0];
        message.extend(length.to_be_bytes());
        message.extend([0, 0]);
        message.extend(label);
        message
    }

    /// Reads it; `None` for what is neither.
    pub(super) fn read(message: &[u8]) -> Option<Self> {
        match *message.first()? {
            DATA_CHANNEL_ACK => Some(Self::Ack),
            DATA_CHANNEL_OPEN => {
                let length = message.get(8..10)?.try_into().ok().map(u16::from_be_bytes)?;
                let label = message.get(HEADER..HEADER + usize::from(length))?;
                Some(Self::Open(String::from_utf8_lossy(label).into_owned()))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_written_as_they_are_in_the_rfc() {
        let open = Dcep::Open("chat".into());
        assert_eq!(open.write(), b"\x03\0\0\0\0\0\0\0\0\x04\0\0chat");
        assert_eq!(Dcep::Ack.write(), [2]);
        assert_eq!(Dcep::read(&open.write()), Some(open));
        assert_eq!(Dcep::read(&[2]), Some(Dcep::Ack));
    }

    #[test]
    fn what_is_cut_short_is_nothing() {
        let whole = Dcep::Open("chat".into()).write();
        for length in 0..whole.len() {
            assert_eq!(Dcep::read(&whole[..length]), None, "{length}");
        }
        assert_eq!(Dcep::read(&[9, 9]), None);
    }
}
