//! RFC 8656 §7.1 and §18: what requests carry and never carry, and how attributes are read.

use floe::stun::{AttributeType, Encoder, LongTerm, Message, MessageClass, Method, TransactionId};
use floe::turn::{Client, ClientConfig, Families, Received, RelayProtocol};
use floe::{DropReason, Instant, MIN_TRANSMIT, Transport};

const ID: TransactionId = TransactionId([7; 12]);

fn message(class: MessageClass, method: Method, kind: AttributeType, value: &[u8]) -> Vec<u8> {
    let mut buf = [0; 256];
    let length = Encoder::new(&mut buf, class, method, ID).attribute(kind, value).finish().unwrap();
    buf[..length].to_vec()
}

fn client(families: Families, transport: Transport) -> Client {
    let mut config = ClientConfig::new(transport, LongTerm::new(b"user", b"pass").unwrap());
    config.families = families;
    Client::new(Instant::ZERO, config, [1; 32])
}

/// [rfc8656-7.1-6] [rfc8656-7.1-9] [rfc8656-7.1-10] [rfc8656-7.1-14]
#[test]
fn no_port_is_reserved_and_no_reservation_claimed() {
    for families in [Families::Ipv4, Families::Ipv6, Families::Both] {
        for relay in [RelayProtocol::Udp, RelayProtocol::Tcp] {
            let credentials = LongTerm::new(b"user", b"pass").unwrap();
            let mut config = ClientConfig::new(Transport::Tcp, credentials);
            (config.families, config.relay) = (families, relay);
            let mut client = Client::new(Instant::ZERO, config, [1; 32]);
            let mut buf = [0; MIN_TRANSMIT];
            let length = client.poll_transmit(Instant::ZERO, &mut buf).unwrap();
            let allocate = Message::parse(&buf[..length]).unwrap();
            assert_eq!(allocate.method(), Method::ALLOCATE);
            for kind in [AttributeType::EVEN_PORT, AttributeType::RESERVATION_TOKEN] {
                assert_eq!(allocate.attribute(kind), None, "{families:?} {relay:?}");
            }
        }
    }
}

/// [rfc8656-18.1-1b]
#[test]
fn what_is_reserved_in_a_channel_number_is_ignored() {
    for reserved in [0x0000_u16, 0x0001, 0xFFFF] {
        let value = (0x4001 << 16 | u32::from(reserved)).to_be_bytes();
        let kind = AttributeType::CHANNEL_NUMBER;
        let octets = message(MessageClass::Request, Method::CHANNEL_BIND, kind, &value);
        assert_eq!(Message::parse(&octets).unwrap().channel_number(), Some(0x4001));
    }
}

/// [rfc8656-18.12-1b]
#[test]
fn what_is_reserved_in_an_address_error_code_is_ignored() {
    for (high, low) in [(0x00, 0x00), (0xFF, 0xF8), (0x80, 0x08)] {
        let value = [2, high, 4 | low, 40];
        let kind = AttributeType::ADDRESS_ERROR_CODE;
        let octets = message(MessageClass::Success, Method::ALLOCATE, kind, &value);
        let message = Message::parse(&octets).unwrap();
        let (family, error) = message.address_error_code().unwrap();
        assert_eq!((family, error.code()), (2, 440));
    }
}

/// [rfc8489-11-2a] [rfc8489-11-2c] [rfc8656-5-p3]
#[test]
fn a_message_without_the_cookie_counts_nowhere_in_turn() {
    let kind = AttributeType::DATA;
    let mut indication = message(MessageClass::Indication, Method::DATA, kind, b"data");
    indication[4..8].fill(0);
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Dtls] {
        let mut client = client(Families::Ipv4, transport);
        let dropped = client.handle_datagram(Instant::ZERO, &indication);
        assert_eq!(dropped, Received::Dropped(DropReason::Malformed), "{transport}");
    }
}
