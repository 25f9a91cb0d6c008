//! What it costs to put a datagram into ChannelData or a Send indication, and to take it out.

use std::hint::black_box;

use floe::{HEADROOM, TAILROOM};
use stun::agent::TransactionId;
use stun::message::{CLASS_INDICATION, METHOD_SEND, Message, MessageType};
use turn::proto::chandata::ChannelData;
use turn::proto::channum::ChannelNumber;
use turn::proto::data::Data;
use turn::proto::peeraddr::PeerAddress;
use turn_client_proto::api::{TurnClientApi, TurnRecvRet};
use turn_client_proto::types::TransportType;
use turn_server_proto::api::Transmit;

use super::server::{Way, floe_established, floe_frame, floe_time, proto_established, proto_time};
use super::{CLIENT, PAYLOAD, PEER, SERVER};
use crate::measure::{Case, measure};
use crate::report::{Report, best_peer, cell, find, peer_cell, print_costs, ratio_cell};

const CHANNEL: &str = "1200 octets to a peer: ChannelData";
const INDICATION: &str = "1200 octets to a peer: Send indication";
const RECEIVE: &str = "1200 octets from a peer: ChannelData";

/// Room before and after the payload, as the users of floe have it.
type Buffer = [u8; HEADROOM + PAYLOAD + TAILROOM];

const ROOM: Buffer = [0; HEADROOM + PAYLOAD + TAILROOM];
const END: usize = HEADROOM + PAYLOAD;

/// The header of ChannelData, in place.
#[inline]
fn channel_header(number: u16, buffer: &mut Buffer) -> &[u8] {
    let start = HEADROOM - 4;
    buffer[start..start + 2].copy_from_slice(&number.to_be_bytes());
    buffer[start + 2..HEADROOM].copy_from_slice(&(PAYLOAD as u16).to_be_bytes());
    &buffer[start..END]
}

/// Header, XOR-PEER-ADDRESS and the header of DATA, in place; the peer is known before.
#[inline]
fn indication_header(transaction: u64, peer: [u8; 8], buffer: &mut Buffer) -> &[u8] {
    const START: usize = HEADROOM - 36;
    let header: &mut [u8; 36] = (&mut buffer[START..HEADROOM]).try_into().expect("36 octets");
    header[..2].copy_from_slice(&[0x00, 0x16]);
    header[2..4].copy_from_slice(&(16 + PAYLOAD as u16).to_be_bytes());
    header[4..8].copy_from_slice(&0x2112_A442_u32.to_be_bytes());
    header[8..12].fill(0);
    header[12..20].copy_from_slice(&transaction.to_be_bytes());
    header[20..24].copy_from_slice(&[0x00, 0x12, 0, 8]);
    header[24..32].copy_from_slice(&peer);
    header[32..34].copy_from_slice(&[0x00, 0x13]);
    header[34..].copy_from_slice(&(PAYLOAD as u16).to_be_bytes());
    &buffer[START..END]
}

fn floors() -> [Case<'static>; 3] {
    let (mut buffer, mut buffer2) = (ROOM, ROOM);
    let mut transaction = 0;
    let packet = channel_header(0x4000, &mut ROOM.clone()).to_vec();
    [
        Case::new(CHANNEL, "floor (four octets in place)", move || {
            black_box(channel_header(black_box(0x4000), black_box(&mut buffer)));
        }),
        Case::new(INDICATION, "floor (36 octets in place)", move || {
            transaction += 1;
            let peer = black_box([0, 1, 2, 3, 4, 5, 6, 7]);
            black_box(indication_header(transaction, peer, black_box(&mut buffer2)));
        }),
        Case::new(RECEIVE, "floor (two numbers compared)", move || {
            let packet = black_box(&packet[..]);
            let (header, data) = packet.split_first_chunk::<4>().expect("a header");
            let [number @ .., high, low] = header;
            assert_eq!(u16::from_be_bytes(*number), black_box(0x4000));
            let len = usize::from(u16::from_be_bytes([*high, *low]));
            black_box(data.get(..len).expect("all of it"));
        }),
    ]
}

fn floe_cases() -> Vec<Case<'static>> {
    let mut cases = Vec::new();
    for (group, way) in [(CHANNEL, Way::Channel), (INDICATION, Way::Indications)] {
        let (mut client, _) = floe_established(way);
        let expected = if way == Way::Channel { 4 } else { 36 };
        assert_eq!(floe_frame(&mut client, &[0; PAYLOAD]).len(), PAYLOAD + expected);
        let framing = client.framing(PEER).expect("a way");
        let mut buffer = ROOM;
        cases.push(Case::new(group, "floe: Framing::frame", move || {
            let buffer = black_box(&mut buffer);
            black_box(black_box(framing).frame(buffer, HEADROOM..END).expect("room"));
        }));
        let mut buffer = ROOM;
        cases.push(Case::new(group, "floe: Client::framing and frame", move || {
            let framing = client.framing(black_box(PEER)).expect("a way");
            black_box(framing.frame(black_box(&mut buffer), HEADROOM..END).expect("room"));
        }));
    }
    let (mut client, now) = floe_established(Way::Channel);
    let packet = floe_frame(&mut client, &[0; PAYLOAD]);
    cases.push(Case::new(RECEIVE, "floe: Client::handle_datagram", move || {
        let received = client.handle_datagram(floe_time(now), black_box(&packet));
        assert!(matches!(received, floe::turn::Received::Data { .. }));
        black_box(&received);
    }));
    cases
}

fn proto_cases() -> Vec<Case<'static>> {
    const UDP: TransportType = TransportType::Udp;
    let mut cases = Vec::new();
    for (group, way) in [(CHANNEL, Way::Channel), (INDICATION, Way::Indications)] {
        let (mut client, now) = proto_established(way);
        let (now, data) = (proto_time(now), [0; PAYLOAD]);
        let mut buffer = [0; 1300];
        let name = "turn-client-proto 0.7 (send_to, write_into: a copy)";
        cases.push(Case::new(group, name, move || {
            let packet = client.send_to(UDP, black_box(PEER), black_box(&data[..]), now);
            let packet = packet.expect("a permission").expect("a packet");
            black_box(packet.write_into(black_box(&mut buffer)).data);
        }));
    }
    let (mut client, now) = proto_established(Way::Channel);
    let now = proto_time(now);
    let send = client.send_to(UDP, PEER, [0; PAYLOAD], now).expect("a permission");
    let packet = send.expect("a packet").build().data;
    cases.push(Case::new(RECEIVE, "turn-client-proto 0.7 (recv)", move || {
        let packet = Transmit::new(black_box(&packet[..]), UDP, SERVER, CLIENT);
        assert!(matches!(client.recv(packet, now), TurnRecvRet::PeerData(_)));
    }));
    cases
}

/// What the crate's client does with each datagram, by its public parts: the client itself cannot
/// be had without sockets.
fn webrtc_cases() -> [Case<'static>; 3] {
    let data = [0; PAYLOAD];
    let packet = {
        let number = ChannelNumber(0x4000);
        let mut channel = ChannelData { data: data.to_vec(), number, raw: Vec::new() };
        channel.encode();
        channel.raw
    };
    [
        Case::new(CHANNEL, "turn 0.17 (ChannelData::encode)", move || {
            let data = black_box(&data).to_vec();
            let mut channel =
                ChannelData { data, number: ChannelNumber(black_box(0x4000)), raw: Vec::new() };
            channel.encode();
            black_box(&channel.raw);
        }),
        Case::new(INDICATION, "turn 0.17 (Message::build)", move || {
            let mut message = Message::new();
            let peer = black_box(PEER);
            let built = message.build(&[
                Box::new(TransactionId::new()),
                Box::new(MessageType::new(METHOD_SEND, CLASS_INDICATION)),
                Box::new(Data(black_box(&data).to_vec())),
                Box::new(PeerAddress { ip: peer.ip(), port: peer.port() }),
                Box::new(stun::fingerprint::FINGERPRINT),
            ]);
            built.expect("a message");
            black_box(&message.raw);
        }),
        Case::new(RECEIVE, "turn 0.17 (ChannelData::decode)", move || {
            let raw = black_box(&packet).clone();
            let mut channel = ChannelData { raw, ..ChannelData::default() };
            channel.decode().expect("channel data");
            black_box(&channel.data);
        }),
    ]
}

/// Runs the part.
pub fn run(report: &mut Report) {
    let mut cases: Vec<Case<'static>> = floors().into();
    cases.extend(floe_cases());
    cases.extend(proto_cases());
    cases.extend(webrtc_cases());
    let costs = measure(cases, report.effort);
    print_costs(&costs);

    for (work, group) in [
        ("ChannelData around 1200 octets", CHANNEL),
        ("Send indication around 1200 octets", INDICATION),
        ("ChannelData in, payload out", RECEIVE),
    ] {
        let (floe, floor) = (find(&costs, group, "floe"), find(&costs, group, "floor"));
        report.headline(
            work,
            &peer_cell(best_peer(&costs, group)),
            &cell(floor),
            &ratio_cell(floe, floor),
            if group == CHANNEL { "≤ 1.5 × floor, 0 allocations" } else { "0 allocations" },
        );
        for cost in costs.iter().filter(|cost| cost.group == group && cost.name.starts_with("floe"))
        {
            let name = format!("{work}, {}: allocations", cost.name);
            report.gate(&name, Some(cost.allocations), 0.0);
        }
    }
}
