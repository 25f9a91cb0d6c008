//! What must hold for any octets: one function for each fuzz target.
//!
//! Each takes an input and panics when a claim does not hold. They use the public interface alone.

mod attributes;
mod endpoint;
mod framing;
mod lines;
mod mdns;
mod rooms;
mod stun;
mod text;
mod turn;
mod watch;

pub use attributes::stun_attributes;
pub use endpoint::endpoint_input;
pub use framing::deframer;
pub use lines::signal_lines;
pub use mdns::mdns;
pub use rooms::{bodies, rooms};
pub use stun::{stun_build, stun_decode};
pub use text::{candidate_line, sdp, sdpfrag, signal_json};
pub use turn::turn_client;

/// Takes an input apart from its start; what is missing is zero.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn octet(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.take(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.array())
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.array())
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Takes what an octet of length says.
    fn chunk(&mut self) -> &'a [u8] {
        let length = self.octet();
        self.take(usize::from(length))
    }
}
