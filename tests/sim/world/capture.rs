//! `SIM_PCAP=file`: all datagrams as pcapng, for Wireshark: one interface for each node, comments on
//! what was lost.
//!
//! The IP and UDP headers are made up around what the simulator carries.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use floe::Instant;

use crate::world::network::Node;
use crate::world::trace::Moment;

/// Raw IP, without a link layer.
const LINKTYPE_RAW: u16 = 101;
const UDP: u8 = 17;

/// A capture, written when it is dropped.
#[derive(Debug)]
pub(crate) struct Capture {
    path: PathBuf,
    octets: Vec<u8>,
    interfaces: Vec<Node>,
}

impl Capture {
    pub(crate) fn new(path: PathBuf) -> Self {
        let mut octets = Vec::new();
        let mut header = 0x1a2b_3c4d_u32.to_le_bytes().to_vec();
        header.extend([1, 0, 0, 0]);
        header.extend(u64::MAX.to_le_bytes());
        push_block(&mut octets, 0x0a0d_0d0a, &header);
        Self { path, octets, interfaces: Vec::new() }
    }

    /// A datagram passed `node`.
    pub(crate) fn packet(
        &mut self,
        now: Instant,
        moment: Moment,
        node: Node,
        [from, to]: [SocketAddr; 2],
        octets: &[u8],
    ) {
        let interface = self.interface(node);
        let datagram = datagram(from, to, octets);
        let len = u32::try_from(datagram.len()).expect("a datagram");
        let nanos = now.as_nanos();
        let mut body = interface.to_le_bytes().to_vec();
        body.extend(((nanos >> 32) as u32).to_le_bytes());
        body.extend((nanos as u32).to_le_bytes());
        body.extend([len.to_le_bytes(), len.to_le_bytes()].concat());
        body.extend(datagram);
        body.resize(body.len().next_multiple_of(4), 0);
        match moment {
            Moment::Sent | Moment::Received => {}
            Moment::Lost | Moment::Filtered => {
                push_option(&mut body, 1, moment.name().as_bytes());
                push_option(&mut body, 0, &[]);
            }
        }
        push_block(&mut self.octets, 6, &body);
    }

    /// The number of a node's interface, which is described when it is first needed.
    fn interface(&mut self, node: Node) -> u32 {
        let known = self.interfaces.iter().position(|known| *known == node);
        let number = known.unwrap_or_else(|| {
            let mut body = LINKTYPE_RAW.to_le_bytes().to_vec();
            body.extend([0; 6]);
            push_option(&mut body, 2, node.to_string().as_bytes());
            // Times in nanoseconds.
            push_option(&mut body, 9, &[9]);
            push_option(&mut body, 0, &[]);
            push_block(&mut self.octets, 1, &body);
            self.interfaces.push(node);
            self.interfaces.len() - 1
        });
        u32::try_from(number).expect("few nodes")
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if let Err(error) = std::fs::write(&self.path, &self.octets) {
            eprintln!("{}: {error}", self.path.display());
        }
    }
}

fn push_block(octets: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let len = u32::try_from(body.len() + 12).expect("a short block").to_le_bytes();
    octets.extend(kind.to_le_bytes());
    octets.extend(len);
    octets.extend(body);
    octets.extend(len);
}

fn push_option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend(code.to_le_bytes());
    body.extend(u16::try_from(value.len()).expect("a short option").to_le_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// Octets with a UDP and an IP header before them.
fn datagram(from: SocketAddr, to: SocketAddr, octets: &[u8]) -> Vec<u8> {
    let len = u16::try_from(octets.len() + 8).expect("a datagram");
    let mut udp = [from.port(), to.port(), len, 0].map(u16::to_be_bytes).concat();
    udp.extend(octets);
    let (mut ip, pseudo) = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut ip = vec![0x45, 0];
            ip.extend((len + 20).to_be_bytes());
            ip.extend([0, 0, 0x40, 0, 64, UDP, 0, 0]);
            ip.extend([from.octets(), to.octets()].concat());
            let sum = checksum(&ip).to_be_bytes();
            ip[10..12].copy_from_slice(&sum);
            (ip, [from.octets(), to.octets()].concat())
        }
        (from, to) => {
            let v6 = |ip: IpAddr| match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                IpAddr::V6(ip) => ip.octets(),
            };
            let addresses = [v6(from), v6(to)].concat();
            let mut ip = vec![0x60, 0, 0, 0];
            ip.extend(len.to_be_bytes());
            ip.extend([UDP, 64]);
            ip.extend(&addresses);
            (ip, addresses)
        }
    };
    let mut summed = pseudo;
    summed.extend([0, UDP]);
    summed.extend(len.to_be_bytes());
    summed.extend(&udp);
    let sum = match checksum(&summed) {
        0 => u16::MAX,
        sum => sum,
    };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    ip.extend(udp);
    ip
}

/// The Internet checksum. [RFC 1071]
fn checksum(octets: &[u8]) -> u16 {
    let word = |two: &[u8]| u32::from(two[0]) << 8 | u32::from(two.get(1).copied().unwrap_or(0));
    let mut sum: u32 = octets.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_around_a_datagram_have_the_checksums_that_receivers_verify() {
        for (from, to) in
            [("10.1.0.2:4000", "192.0.2.1:3478"), ("[2001:db8::1]:1", "[2001:db8::2]:2")]
        {
            let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
            let octets = datagram(from, to, b"odd");
            let (header, addresses) = if from.is_ipv4() { (20, 12..20) } else { (40, 8..40) };
            if from.is_ipv4() {
                assert_eq!(checksum(&octets[..header]), 0);
            }
            let mut summed = octets[addresses].to_vec();
            summed.extend([0, UDP, 0, 11]);
            summed.extend(&octets[header..]);
            assert_eq!(checksum(&summed), 0, "{from}");
        }
    }

    #[test]
    fn a_capture_is_made_of_whole_blocks() {
        let mut capture = Capture::new(PathBuf::new());
        let ends = ["10.1.0.2:4000", "192.0.2.1:3478"].map(|text| text.parse().unwrap());
        for node in [Node::Host(0), Node::Turn(0), Node::Host(0)] {
            capture.packet(Instant::from_millis(1), Moment::Lost, node, ends, b"five!");
        }
        let octets = core::mem::take(&mut capture.octets);
        core::mem::forget(capture);
        let (mut rest, mut kinds) = (&octets[..], Vec::new());
        while let Some(&[k0, k1, k2, k3, l0, l1, l2, l3]) = rest.first_chunk::<8>() {
            let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
            assert_eq!(rest[len - 4..len], rest[4..8], "the length at both ends");
            kinds.push(u32::from_le_bytes([k0, k1, k2, k3]));
            rest = &rest[len..];
        }
        assert_eq!((rest.len(), &kinds[..]), (0, &[0x0a0d_0d0a, 1, 6, 1, 6, 6][..]));
    }
}
