//! A small TURN server: it keeps to the rules, forgets nothing with time, and can be told to refuse.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use floe::stun::{
    AttributeType, Encoder, IntegrityKey, Message, MessageClass, Method, TransactionId,
};

/// The username, the password and the realm.
pub(crate) const USER: (&str, &str, &str) = ("user", "pass", "floe.test");

/// A datagram: from, to, octets.
pub(crate) type Datagram = (SocketAddr, SocketAddr, Vec<u8>);

#[derive(Clone, Debug)]
pub(crate) struct Allocation {
    pub(crate) client: SocketAddr,
    pub(crate) relayed: Vec<SocketAddr>,
    pub(crate) permissions: BTreeSet<IpAddr>,
    pub(crate) channels: BTreeMap<u16, SocketAddr>,
}

#[derive(Clone, Debug)]
pub(crate) struct TurnServer {
    pub(crate) address: SocketAddr,
    /// The addresses that it relays at; the port is that of the first allocation.
    pub(crate) relays_at: Vec<SocketAddr>,
    pub(crate) allocations: Vec<Allocation>,
    /// What it answers requests of a method with.
    pub(crate) refuses: Option<(Method, u16)>,
    /// Where it sends who wants an allocation, and the name there.
    pub(crate) redirects: Option<(SocketAddr, Option<&'static str>)>,
    /// Every message of a client: who sent it, and its method; `None` for ChannelData.
    pub(crate) heard: Vec<(SocketAddr, Option<Method>)>,
    made: u16,
}

impl TurnServer {
    pub(crate) fn new(address: &str, relays_at: &[&str]) -> Self {
        Self {
            address: address.parse().unwrap(),
            relays_at: relays_at.iter().map(|at| at.parse().unwrap()).collect(),
            allocations: Vec::new(),
            refuses: None,
            redirects: None,
            heard: Vec::new(),
            made: 0,
        }
    }

    /// Whether a datagram to this address is for the server.
    pub(crate) fn owns(&self, to: SocketAddr) -> bool {
        to == self.address || self.allocations.iter().any(|known| known.relayed.contains(&to))
    }

    /// How often a client asked for something.
    pub(crate) fn count(&self, method: Method) -> usize {
        self.heard.iter().filter(|(_, known)| *known == Some(method)).count()
    }

    /// Forgets all, as if started anew.
    pub(crate) fn restart(&mut self) {
        self.allocations.clear();
    }

    /// Takes a datagram; returns what it sends.
    pub(crate) fn receive(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        data: &[u8],
    ) -> Vec<Datagram> {
        if to != self.address {
            return self.relay_in(from, to, data).into_iter().collect();
        }
        let Ok(message) = Message::parse(data) else {
            self.heard.push((from, None));
            return self.channel_data(from, data).into_iter().collect();
        };
        self.heard.push((from, Some(message.method())));
        match message.class() {
            MessageClass::Request => vec![(to, from, self.answer(from, &message))],
            MessageClass::Indication if message.method() == Method::SEND => {
                let (peer, data) = (message.xor_peer_address().unwrap(), message.data().unwrap());
                self.relay_out(from, peer, data).into_iter().collect()
            }
            MessageClass::Indication | MessageClass::Success | MessageClass::Error => Vec::new(),
        }
    }

    fn of(&mut self, client: SocketAddr) -> Option<&mut Allocation> {
        self.allocations.iter_mut().find(|known| known.client == client)
    }

    fn channel_data(&mut self, client: SocketAddr, data: &[u8]) -> Option<Datagram> {
        let (header, rest) = data.split_at_checked(4)?;
        let number = u16::from_be_bytes([header[0], header[1]]);
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let peer = *self.of(client)?.channels.get(&number)?;
        self.relay_out(client, peer, rest.get(..length)?)
    }

    fn relay_out(&mut self, client: SocketAddr, peer: SocketAddr, data: &[u8]) -> Option<Datagram> {
        let known = self.of(client)?;
        if !known.permissions.contains(&peer.ip()) {
            return None;
        }
        let from = known.relayed.iter().find(|relayed| relayed.is_ipv4() == peer.is_ipv4())?;
        Some((*from, peer, data.to_vec()))
    }

    fn relay_in(&self, peer: SocketAddr, relayed: SocketAddr, data: &[u8]) -> Option<Datagram> {
        let known = self.allocations.iter().find(|known| known.relayed.contains(&relayed))?;
        if !known.permissions.contains(&peer.ip()) {
            return None;
        }
        let channel = known.channels.iter().find(|(_, to)| **to == peer);
        let octets = match channel {
            Some((number, _)) => {
                let length = u16::try_from(data.len()).unwrap();
                [&number.to_be_bytes()[..], &length.to_be_bytes()[..], data].concat()
            }
            None => encode(MessageClass::Indication, Method::DATA, TransactionId([7; 12]), |m| {
                m.xor_address(AttributeType::XOR_PEER_ADDRESS, peer)
                    .attribute(AttributeType::DATA, data)
            }),
        };
        Some((self.address, known.client, octets))
    }

    fn answer(&mut self, from: SocketAddr, request: &Message<'_>) -> Vec<u8> {
        let (user, password, realm) = USER;
        let key =
            IntegrityKey::long_term_md5(user.as_bytes(), realm.as_bytes(), password.as_bytes());
        let (method, id) = (request.method(), request.transaction_id());
        if method == Method::BINDING {
            return encode(MessageClass::Success, method, id, |message| {
                message.xor_address(AttributeType::XOR_MAPPED_ADDRESS, from).fingerprint()
            });
        }
        if request.verify(&key).is_err() {
            return encode(MessageClass::Error, method, id, |message| {
                message
                    .error_code(401, "")
                    .attribute(AttributeType::REALM, realm.as_bytes())
                    .attribute(AttributeType::NONCE, b"nonce")
            });
        }
        let refuse = |code: u16| {
            encode(MessageClass::Error, method, id, |m| m.error_code(code, "").integrity(&key))
        };
        if let Some((_, code)) = self.refuses.filter(|(refused, _)| *refused == method) {
            return refuse(code);
        }
        if let Some((to, domain)) = self.redirects.filter(|_| method == Method::ALLOCATE) {
            return encode(MessageClass::Error, method, id, |message| {
                let message =
                    message.error_code(300, "").address(AttributeType::ALTERNATE_SERVER, to);
                let message = match domain {
                    Some(name) => {
                        message.attribute(AttributeType::ALTERNATE_DOMAIN, name.as_bytes())
                    }
                    None => message,
                };
                message.integrity(&key)
            });
        }
        if self.of(from).is_some() == (method == Method::ALLOCATE) {
            return refuse(437);
        }
        let given = self.give(from, request);
        encode(MessageClass::Success, method, id, |message| given(message).integrity(&key))
    }

    /// Does what is asked for, and returns what the answer carries.
    fn give(
        &mut self,
        from: SocketAddr,
        request: &Message<'_>,
    ) -> Box<dyn FnOnce(Encoder<'_>) -> Encoder<'_>> {
        let peers: Vec<SocketAddr> = request
            .attributes()
            .filter(|known| known.kind == AttributeType::XOR_PEER_ADDRESS)
            .map(|known| unmask(known.value, request.transaction_id()))
            .collect();
        if request.method() == Method::ALLOCATE {
            let port = |mut at: SocketAddr| {
                at.set_port(at.port() + self.made);
                at
            };
            let relayed: Vec<SocketAddr> = self.relays_at.iter().copied().map(port).collect();
            self.made += 1;
            self.allocations.push(Allocation {
                client: from,
                relayed: relayed.clone(),
                permissions: BTreeSet::new(),
                channels: BTreeMap::new(),
            });
            return Box::new(move |message| {
                let message = message
                    .xor_address(AttributeType::XOR_MAPPED_ADDRESS, from)
                    .u32(AttributeType::LIFETIME, 600);
                relayed.iter().fold(message, |message, relayed| {
                    message.xor_address(AttributeType::XOR_RELAYED_ADDRESS, *relayed)
                })
            });
        }
        let lifetime = request.lifetime().map_or(600, |lifetime| lifetime.as_secs());
        if request.method() == Method::REFRESH {
            if lifetime == 0 {
                self.allocations.retain(|known| known.client != from);
            }
            let lifetime = u32::try_from(lifetime).unwrap();
            return Box::new(move |message| message.u32(AttributeType::LIFETIME, lifetime));
        }
        let known = self.of(from).unwrap();
        known.permissions.extend(peers.iter().map(SocketAddr::ip));
        if let (Some(number), Some(peer)) = (request.channel_number(), peers.first()) {
            known.channels.insert(number, *peer);
        }
        Box::new(|message| message)
    }
}

fn encode(
    class: MessageClass,
    method: Method,
    id: TransactionId,
    build: impl FnOnce(Encoder<'_>) -> Encoder<'_>,
) -> Vec<u8> {
    let mut buf = vec![0; 4096];
    let len = build(Encoder::new(&mut buf, class, method, id)).finish().unwrap();
    buf.truncate(len);
    buf
}

/// Reads one of several XOR-PEER-ADDRESS.
fn unmask(value: &[u8], id: TransactionId) -> SocketAddr {
    let octets = encode(MessageClass::Request, Method::CREATE_PERMISSION, id, |message| {
        message.attribute(AttributeType::XOR_PEER_ADDRESS, value)
    });
    Message::parse(&octets).unwrap().xor_peer_address().unwrap()
}
