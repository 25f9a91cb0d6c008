//! Claims about finding messages in a stream.

use floe::framing::{Deframer, MAX_BUFFERED, NotStun};

use super::Input;

/// A stream gives the same messages and the same end however it is split, each as long as its
/// header says, and no more of it is kept than the longest message has. The first octet says how many lengths of pieces follow it.
pub fn deframer(data: &[u8]) {
    let mut input = Input(data);
    let pieces: Vec<usize> = input.chunk().iter().map(|length| 1 + usize::from(*length)).collect();
    let stream = input.take(usize::MAX);
    assert_eq!(deframe(stream, &pieces), deframe(stream, &[]));
}

/// The messages and the end of a stream that comes in such pieces, over and over.
fn deframe(mut stream: &[u8], pieces: &[usize]) -> (Vec<Vec<u8>>, Result<usize, NotStun>) {
    let mut deframer = Deframer::new();
    let mut messages = Vec::new();
    let (total, mut taken) = (stream.len(), 0);
    for at in 0.. {
        let length = pieces.get(at % pieces.len().max(1)).copied().unwrap_or(stream.len());
        let room = deframer.room(length);
        let (piece, later) = stream.split_at(length.min(room.len()).min(stream.len()));
        room[..piece.len()].copy_from_slice(piece);
        deframer.filled(piece.len());
        loop {
            match deframer.next_message() {
                Ok(Some(message)) => {
                    let [first, _, high, low] = *message.first_chunk().expect("a whole header");
                    let header = if first < 0x40 { 20 } else { 4 };
                    let told = header + usize::from(u16::from_be_bytes([high, low]));
                    assert_eq!(message.len(), told, "not as long as its header says");
                    taken += message.len().next_multiple_of(4);
                    messages.push(message.to_vec());
                }
                Ok(None) => break,
                Err(end) => return (messages, Err(end)),
            }
        }
        assert!(deframer.rest().len() < MAX_BUFFERED, "more is kept than a message has");
        assert!(later.len() < stream.len() || later.is_empty(), "no way forward");
        stream = later;
        if stream.is_empty() {
            break;
        }
    }
    assert_eq!(taken + deframer.rest().len(), total, "octets are missing");
    (messages, Ok(deframer.rest().len()))
}
