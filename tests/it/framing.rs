//! Finding messages in a stream, RFC 8489 §6.2.2 and RFC 8656 §12.5.

use floe::framing::{Deframer, MAX_BUFFERED, NotStun};
use floe::stun::MAGIC_COOKIE;
use proptest::prelude::*;

/// A STUN message with a body of `length` octets, as it travels.
fn stun(length: u16) -> Vec<u8> {
    let mut message = vec![0x00, 0x17];
    message.extend(length.to_be_bytes());
    message.extend(MAGIC_COOKIE.to_be_bytes());
    message.extend([7; 12]);
    message.extend((0..length).map(|at| at.to_be_bytes()[1]));
    message
}

/// ChannelData of `length` octets, without padding.
fn channel_data(length: u16) -> Vec<u8> {
    let mut message = vec![0x4F, 0xFF];
    message.extend(length.to_be_bytes());
    message.extend((0..length).map(|at| at.to_be_bytes()[1]));
    message
}

/// The message as it travels over a stream. The padding is no zeroes: nobody may look at it.
fn padded(message: &[u8]) -> Vec<u8> {
    let mut padded = message.to_vec();
    padded.resize(message.len().next_multiple_of(4), 0xEE);
    padded
}

/// Puts in as much as there is room for, and returns the rest.
fn put<'a>(deframer: &mut Deframer, octets: &'a [u8]) -> &'a [u8] {
    let room = deframer.room(octets.len());
    let (now, later) = octets.split_at(octets.len().min(room.len()));
    room[..now.len()].copy_from_slice(now);
    deframer.filled(now.len());
    later
}

/// Puts in what has to fit.
fn push(deframer: &mut Deframer, octets: &[u8]) {
    assert_eq!(put(deframer, octets), b"", "no room");
}

/// All messages of a stream that comes in pieces of these lengths, over and over; and how it ended.
fn deframe(stream: &[u8], pieces: &[usize]) -> (Vec<Vec<u8>>, Result<usize, NotStun>) {
    let mut deframer = Deframer::new();
    let mut messages = Vec::new();
    let mut rest = stream;
    let mut pieces = pieces.iter().cycle();
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(rest.len().min(*pieces.next().unwrap()));
        let left = put(&mut deframer, piece).len();
        assert!(left < piece.len(), "no room");
        rest = &rest[piece.len() - left..];
        assert_eq!(rest.len(), left + later.len());
        loop {
            match deframer.next_message() {
                Ok(Some(message)) => messages.push(message.to_vec()),
                Ok(None) => break,
                Err(not_stun) => {
                    assert_eq!(deframer.next_message(), Err(not_stun), "it is over for good");
                    return (messages, Err(not_stun));
                }
            }
        }
    }
    (messages, Ok(deframer.rest().len()))
}

/// [rfc8656-12.5-2]
#[test]
fn channel_data_of_every_length_ends_where_its_padding_does() {
    let next = stun(0);
    for length in 0..=u16::MAX {
        let message = channel_data(length);
        let mut stream = padded(&message);
        stream.extend(&next);
        let mut deframer = Deframer::new();
        // The longest is not read at one go together with what follows.
        push(&mut deframer, &stream[..stream.len().min(MAX_BUFFERED)]);
        assert_eq!(deframer.next_message(), Ok(Some(&message[..])), "length {length}");
        push(&mut deframer, &stream[stream.len().min(MAX_BUFFERED)..]);
        assert_eq!(deframer.next_message(), Ok(Some(&next[..])), "length {length}");
        assert_eq!(deframer.rest(), b"");
    }
}

/// The lengths where header and body together pass 65535 among them. [rfc8489-5-7]
#[test]
fn stun_of_every_length_in_whole_words_is_found_and_no_other() {
    let next = channel_data(1);
    for length in 0..=u16::MAX {
        let message = stun(length);
        if !length.is_multiple_of(4) {
            let head = &message[..4];
            assert_eq!(deframe(head, &[4]), (vec![], Err(NotStun)), "length {length}");
            continue;
        }
        let mut stream = message.clone();
        stream.extend(padded(&next));
        let (found, end) = deframe(&stream, &[60_000]);
        assert_eq!(end, Ok(0), "length {length}");
        assert!(found == [message, next.clone()], "length {length}");
    }
}

#[test]
fn the_longest_messages_in_a_row_stay_in_step() {
    let lengths = [65_516, 65_520, 65_524, 65_528, 65_532];
    let mut messages: Vec<_> = lengths.iter().map(|length| stun(*length)).collect();
    messages.extend((65_516..=65_535).map(channel_data));
    let stream: Vec<u8> = messages.iter().flat_map(|message| padded(message)).collect();
    for piece in [1_448, 16_384, 65_536, stream.len()] {
        let (found, end) = deframe(&stream, &[piece]);
        assert!(found == messages && end == Ok(0), "in pieces of {piece}");
    }
}

/// [rfc8489-6.2.2-1]
#[test]
fn a_split_at_any_octet_changes_nothing() {
    let messages = [channel_data(0), stun(0), channel_data(5), stun(8), channel_data(4)];
    let stream: Vec<u8> = messages.iter().flat_map(|message| padded(message)).collect();
    for split in 1..stream.len() {
        let (found, end) = deframe(&stream, &[split, stream.len()]);
        assert!(found == messages && end == Ok(0), "split at {split}");
    }
    assert_eq!(deframe(&stream, &[1]), (messages.to_vec(), Ok(0)));
}

/// 0b00 is STUN, 0x40..=0x4F a channel, and the rest is reserved or none of ours.
#[test]
fn the_first_octet_tells_the_two_apart_from_anything_else() {
    for first in 0..=u8::MAX {
        let (found, end) = deframe(&[first], &[1]);
        let expected = if first < 0x50 { Ok(1) } else { Err(NotStun) };
        assert_eq!((found, end), (vec![], expected), "{first:#x}");
    }
}

/// [rfc8489-5-3]
#[test]
fn a_wrong_cookie_ends_the_stream_at_its_first_wrong_octet() {
    for at in 4..8 {
        let mut message = stun(0);
        message[at] ^= 1;
        assert_eq!(deframe(&message[..at], &[3]), (vec![], Ok(at)));
        assert_eq!(deframe(&message[..=at], &[3]), (vec![], Err(NotStun)));
    }
}

#[test]
fn what_came_before_garbage_is_delivered() {
    let good = [channel_data(3), stun(4)];
    let mut stream: Vec<u8> = good.iter().flat_map(|message| padded(message)).collect();
    stream.extend(b"\x16\x03\x03 a TLS record");
    assert_eq!(deframe(&stream, &[5]), (good.to_vec(), Err(NotStun)));
}

#[test]
fn a_message_that_never_ends_keeps_no_more_than_the_longest() {
    let mut deframer = Deframer::new();
    push(&mut deframer, &stun(65_532)[..MAX_BUFFERED - 1]);
    assert_eq!(deframer.next_message(), Ok(None));
    assert_eq!(deframer.room(1 << 20).len(), 1, "one octet is missing, one has room");
    deframer.room(1)[0] = 0;
    deframer.filled(1);
    assert!(deframer.room(1).is_empty(), "nobody took the message");
    assert_eq!(deframer.next_message().unwrap().unwrap().len(), MAX_BUFFERED);
    assert!(!deframer.room(1).is_empty());
}

/// [rfc6062-4.3-p1]
#[test]
fn what_follows_a_message_can_be_taken_as_it_is() {
    let mut deframer = Deframer::new();
    let mut stream = stun(4);
    stream.extend(b"\xFFanything");
    push(&mut deframer, &stream);
    assert_eq!(deframer.next_message(), Ok(Some(&stun(4)[..])));
    assert_eq!(deframer.rest(), b"\xFFanything");
}

#[test]
fn a_buffer_shrinks_after_a_burst() {
    let mut deframer = Deframer::new();
    let room = deframer.room(2_048).len();
    push(&mut deframer, &stun(65_532));
    assert!(deframer.next_message().unwrap().is_some());
    assert!(deframer.room(2_048).len() > 60_000);
    for _ in 0..100 {
        push(&mut deframer, &stun(20));
        assert!(deframer.next_message().unwrap().is_some());
        assert_eq!(deframer.next_message(), Ok(None));
        let _ = deframer.room(2_048);
    }
    assert!(deframer.room(2_048).len() <= 4 * room, "{deframer:?}");
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![8 => 0..200_u16, 2 => 1_000..2_000_u16, 1 => 60_000..=u16::MAX];
    (any::<bool>(), length).prop_map(
        |(is_stun, length)| if is_stun { stun(length & !3) } else { channel_data(length) },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_chunking_gives_the_same_messages(
        messages in prop::collection::vec(message(), 0..12),
        pieces in prop::collection::vec(prop_oneof![1..20_usize, 1..20_000_usize], 1..20),
        cut in 0..40_usize,
    ) {
        let mut stream: Vec<u8> = messages.iter().flat_map(|message| padded(message)).collect();
        stream.extend(&stun(20)[..cut.min(39)]);
        let (found, end) = deframe(&stream, &pieces);
        prop_assert!(found == messages, "other messages came out");
        prop_assert_eq!(end, Ok(cut.min(39)));
    }

    #[test]
    fn any_octets_end_the_same_way_however_they_come(
        mut stream in prop::collection::vec(any::<u8>(), 0..200),
        first in 0x38..0x58_u8,
        pieces in prop::collection::vec(1..20_usize, 1..20),
    ) {
        if let Some(octet) = stream.first_mut() {
            *octet = first;
        }
        prop_assert_eq!(deframe(&stream, &pieces), deframe(&stream, &[stream.len().max(1)]));
    }
}
