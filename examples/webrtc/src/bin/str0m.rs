//! str0m with the gathering and TURN of floe: two cores without IO on one socket, in one loop.
//!
//! ```text
//! str0m offer|answer|--room URL [--address IP] [--stun IP:PORT] [--turn IP:PORT USER PASSWORD]
//!       [--relay] [--say TEXT]
//! ```
//!
//! It signals as `data_channel` does, and says the same: each side opens a channel, says something,
//! and gives back what it gets on the other's. When both have heard their own words again, they
//! leave. With `--relay` everything goes through the TURN server.
//!
//! str0m has ICE, DTLS, SCTP and media, and leaves the addresses to the application: it takes
//! candidates, and says for each packet which of them it leaves from. floe finds the candidates:
//!
//! - An [`Endpoint`] with an agent that is told of no peer gathers host and server-reflexive
//!   candidates, and keeps the mappings alive. It checks nothing, for it knows nobody.
//! - A [`turn::Client`] is one allocation at one server. It gives the relayed candidate, and the
//!   server-reflexive one that its server saw.
//!
//! What passes between the two:
//!
//! | a datagram | goes to |
//! |---|---|
//! | from str0m, whose source is the relayed address | the client, which frames it for the server |
//! | from str0m, of any other source | the socket |
//! | from the TURN server | the client; what a peer sent by the relay comes out, and is str0m's |
//! | from anybody else, that str0m accepts | str0m |
//! | what is left: answers of STUN servers | the endpoint |
//!
//! Time is one clock and one timer: the earliest of the three deadlines, and then all three are told.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use floe::candidate::CandidateKind;
use floe::config::{AgentConfig, EndpointConfig, Role};
use floe::signaling::rooms::Side;
use floe::signaling::{CandidateInit, Signal, SignalingExt};
use floe::stun::LongTerm;
use floe::turn::{Client, ClientConfig, Event as RelayEvent, Received as Relayed};
use floe::{
    Endpoint, Event as GatherEvent, HEADROOM, MIN_TRANSMIT, Server, Socket, SocketId, TAILROOM,
    Transport,
};
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::channel::ChannelId;
use str0m::net::{Protocol, Receive, Transmit};
use str0m::{Candidate, Event, Input, Output, Rtc};
use tokio::net::UdpSocket;
use webrtc_examples::{Failure, Options, leave};

/// The longest datagram that is read.
const LONGEST: usize = 2048;

/// Our allocation, and where it is.
struct Relay {
    client: Client,
    server: SocketAddr,
}

/// One peer connection: str0m's part, floe's part, and the socket below both.
struct Peer {
    rtc: Rtc,
    endpoint: Endpoint,
    base: SocketId,
    relay: Option<Relay>,
    relay_only: bool,
    socket: UdpSocket,
    local: SocketAddr,
    began: Instant,
    /// What is to be signalled.
    signals: VecDeque<Signal>,
    /// Whether our description has left: candidates found later are trickled.
    described: bool,
    pending: Option<SdpPendingOffer>,
    text: String,
    ours: Option<ChannelId>,
    /// Whether our words came back.
    heard: bool,
    /// Whether the peer is done with us.
    done: bool,
}

impl Peer {
    async fn new(options: &Options) -> Result<Self, Failure> {
        let socket = UdpSocket::bind((address(options).await?, 0)).await?;
        let local = socket.local_addr()?;
        let began = Instant::now();
        let zero = floe::Instant::ZERO;
        let mut seeds = [[0; 32]; 2];
        for seed in &mut seeds {
            getrandom::fill(seed)?;
        }
        let mut endpoint = Endpoint::new(zero, Arc::new(EndpointConfig::default()), seeds[0]);
        let base = endpoint.add_socket(zero, Socket::udp(local));
        if let Some(server) = options.stun.filter(|_| !options.relay_only) {
            endpoint.add_server(zero, Server::stun(server));
        }
        endpoint.add_agent(zero, AgentConfig::new(Role::Controlling));
        let mut relay = None;
        if let Some((server, user, password)) = &options.turn {
            let credentials = LongTerm::new(user.as_bytes(), password.as_bytes())?;
            let config = ClientConfig::new(Transport::Udp, credentials);
            relay = Some(Relay { client: Client::new(zero, config, seeds[1]), server: *server });
        }
        Ok(Self {
            rtc: Rtc::new(began),
            endpoint,
            base,
            relay,
            relay_only: options.relay_only,
            socket,
            local,
            began,
            signals: VecDeque::new(),
            described: false,
            pending: None,
            text: options.text.clone(),
            ours: None,
            heard: false,
            done: false,
        })
    }

    /// floe's time: since the beginning.
    fn now(&self) -> floe::Instant {
        floe::Instant::ZERO + self.began.elapsed()
    }

    /// Offers a data channel; candidates follow as they are found.
    fn offer(&mut self) {
        let mut changes = self.rtc.sdp_api();
        self.ours = Some(changes.add_channel("str0m".to_owned()));
        if let Some((offer, pending)) = changes.apply() {
            self.signals.push_back(Signal::Offer { sdp: offer.to_sdp_string() });
            (self.pending, self.described) = (Some(pending), true);
        }
    }

    fn take_signal(&mut self, signal: Signal) -> Result<(), Failure> {
        match signal {
            Signal::Offer { sdp } => {
                self.permit(sdp.lines().filter_map(|line| line.strip_prefix("a=")));
                let offer = SdpOffer::from_sdp_string(&sdp)?;
                let answer = self.rtc.sdp_api().accept_offer(offer)?;
                self.signals.push_back(Signal::Answer { sdp: answer.to_sdp_string() });
                self.described = true;
                // The section is there: one channel more needs no offer.
                let mut changes = self.rtc.sdp_api();
                self.ours = Some(changes.add_channel("str0m".to_owned()));
                changes.apply();
            }
            Signal::Answer { sdp } => {
                self.permit(sdp.lines().filter_map(|line| line.strip_prefix("a=")));
                let pending = self.pending.take().ok_or("an answer that was not asked for")?;
                self.rtc.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(&sdp)?)?;
            }
            Signal::Candidate(init) if init.is_end_of_candidates() => {}
            Signal::Candidate(init) => {
                self.permit([init.candidate.as_str()]);
                match Candidate::from_sdp_string(&init.candidate) {
                    Ok(candidate) => self.rtc.add_remote_candidate(candidate),
                    // Of a kind that str0m does not take, such as a name of mDNS.
                    Err(error) => eprintln!("passed over {}: {error}", init.candidate),
                }
            }
        }
        Ok(())
    }

    /// The relay lets in the peers that were signalled, and nobody else.
    fn permit<'l>(&mut self, lines: impl IntoIterator<Item = &'l str>) {
        let now = self.now();
        let Some(relay) = &mut self.relay else { return };
        for line in lines {
            let candidate = line.parse::<floe::candidate::Candidate>().ok();
            if let Some(address) = candidate.and_then(|candidate| candidate.socket_address()) {
                // Refused are other families than the allocation's: those pairs fail by themselves.
                let _ = relay.client.permit(now, address.ip());
            }
        }
    }

    /// Hands str0m a candidate that floe found, and the peer if str0m takes it.
    fn found(&mut self, candidate: Candidate) {
        let Some(taken) = self.rtc.add_local_candidate(candidate) else { return };
        eprintln!("found {taken}");
        if self.described {
            let candidate = taken.to_sdp_string();
            let init = CandidateInit { candidate, sdp_m_line_index: Some(0), ..Default::default() };
            self.signals.push_back(Signal::Candidate(init));
        }
    }

    /// Does all that floe has to do: packets to servers, and candidates.
    async fn drive_floe(&mut self) -> Result<(), Failure> {
        let mut buf = [0; MIN_TRANSMIT];
        let now = self.now();
        self.endpoint.handle_timeout(now);
        while let Some(packet) = self.endpoint.poll_transmit(now, &mut buf) {
            send(&self.socket, &buf[packet.range], packet.to).await;
        }
        while let Some(event) = self.endpoint.poll_event() {
            let GatherEvent::LocalCandidate { candidate, .. } = event else { continue };
            let Some(address) = candidate.socket_address().filter(|_| !self.relay_only) else {
                continue;
            };
            self.found(match candidate.kind {
                CandidateKind::Host => Candidate::host(address, Protocol::Udp)?,
                _ => Candidate::server_reflexive(address, self.local, Protocol::Udp)?,
            });
        }
        let Some(relay) = &mut self.relay else { return Ok(()) };
        relay.client.handle_timeout(now);
        while let Some(length) = relay.client.poll_transmit(now, &mut buf) {
            send(&self.socket, &buf[..length], relay.server).await;
        }
        while let Some(event) = self.relay.as_mut().and_then(|relay| relay.client.poll_event()) {
            self.relay_event(&event)?;
        }
        Ok(())
    }

    fn relay_event(&mut self, event: &RelayEvent) -> Result<(), Failure> {
        let Some(relay) = &self.relay else { return Ok(()) };
        match event {
            RelayEvent::Allocated => {
                let relayed: Vec<_> = relay.client.relayed().collect();
                if let Some(mapped) = relay.client.mapped().filter(|_| !self.relay_only) {
                    self.found(Candidate::server_reflexive(mapped, self.local, Protocol::Udp)?);
                }
                for address in relayed {
                    self.found(Candidate::relayed(address, self.local, Protocol::Udp)?);
                }
            }
            RelayEvent::Failed(error) => eprintln!("no relay: {error}"),
            other => eprintln!("relay: {other:?}"),
        }
        Ok(())
    }

    /// Does all that str0m has to do; returns when it wants to be told the time.
    async fn drive_str0m(&mut self) -> Result<Instant, Failure> {
        loop {
            match self.rtc.poll_output()? {
                Output::Timeout(at) => return Ok(at),
                Output::Transmit(packet) => self.send(&packet).await,
                Output::Event(event) => self.event(event)?,
            }
        }
    }

    /// Sends a packet of str0m from where it says.
    async fn send(&mut self, packet: &Transmit) {
        let now = self.now();
        let relayed = |relay: &&mut Relay| relay.client.relayed().any(|at| at == packet.source);
        let Some(relay) = self.relay.as_mut().filter(relayed) else {
            return send(&self.socket, &packet.contents, packet.destination).await;
        };
        // A permission comes before the first packet; it may travel right behind the request.
        if relay.client.permit(now, packet.destination.ip()).is_err() {
            return;
        }
        // What is not STUN is for long: a channel has the shorter header. Indications serve until
        // it is there.
        if packet.contents.first().is_some_and(|octet| *octet > 3) {
            let _ = relay.client.bind_channel(now, packet.destination);
        }
        let mut buf = [0; LONGEST];
        while let Some(length) = relay.client.poll_transmit(now, &mut buf) {
            send(&self.socket, &buf[..length], relay.server).await;
        }
        let payload = HEADROOM..HEADROOM + packet.contents.len();
        if payload.end + TAILROOM > buf.len() {
            return;
        }
        buf[payload.clone()].copy_from_slice(&packet.contents);
        let framing = relay.client.framing(packet.destination);
        if let Some(range) = framing.and_then(|framing| framing.frame(&mut buf, payload)) {
            send(&self.socket, &buf[range], relay.server).await;
        }
    }

    /// Takes a datagram to whom it is for.
    fn receive(&mut self, from: SocketAddr, datagram: &[u8]) -> Result<(), Failure> {
        let now = self.now();
        if let Some(relay) = self.relay.as_mut().filter(|relay| relay.server == from) {
            if let Relayed::Data { peer, data } = relay.client.handle_datagram(now, datagram) {
                let to = relay.client.relayed().find(|at| at.is_ipv4() == peer.is_ipv4());
                if let Some(to) = to {
                    self.for_str0m(peer, to, data)?;
                }
            }
            return Ok(());
        }
        if !self.for_str0m(from, self.local, datagram)? {
            // Of STUN servers; whatever else there is, the endpoint counts and drops.
            let _ = self.endpoint.handle_datagram(now, self.base, from, datagram);
        }
        Ok(())
    }

    /// Hands str0m a datagram that came to one of its candidates; false if it is none of its own.
    fn for_str0m(
        &mut self,
        source: SocketAddr,
        to: SocketAddr,
        data: &[u8],
    ) -> Result<bool, Failure> {
        let Ok(receive) = Receive::new(Protocol::Udp, source, to, data) else { return Ok(false) };
        let input = Input::Receive(Instant::now(), receive);
        let accepted = self.rtc.accepts(&input);
        if accepted {
            self.rtc.handle_input(input)?;
        }
        Ok(accepted)
    }

    fn event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Connected => eprintln!("connected and secured"),
            Event::ChannelOpen(id, _) if self.ours == Some(id) => {
                let text = self.text.clone();
                self.write(id, false, text.as_bytes())?;
            }
            Event::ChannelOpen(_, label) => eprintln!("the peer opened channel {label:?}"),
            Event::ChannelData(data) if self.ours == Some(data.id) => {
                eprintln!("echo: {}", String::from_utf8_lossy(&data.data));
                self.heard = true;
                self.rtc.direct_api().close_data_channel(data.id);
            }
            Event::ChannelData(data) => self.write(data.id, data.binary, &data.data)?,
            Event::ChannelClose(id) => self.done |= self.ours != Some(id),
            _ => {}
        }
        Ok(())
    }

    fn write(&mut self, id: ChannelId, binary: bool, data: &[u8]) -> Result<(), Failure> {
        let mut channel = self.rtc.channel(id).ok_or("the channel is gone")?;
        if !channel.write(binary, data)? {
            eprintln!("the channel is full: {} octets are lost", data.len());
        }
        Ok(())
    }

    /// Says farewell to the peer, and gives the relay back.
    async fn close(&mut self) -> Result<(), Failure> {
        self.rtc.close()?;
        self.drive_str0m().await?;
        let now = self.now();
        if let Some(relay) = &mut self.relay {
            relay.client.close(now);
        }
        self.drive_floe().await
    }
}

/// Datagrams may be lost, and this one was; who sent it finds out.
async fn send(socket: &UdpSocket, datagram: &[u8], to: SocketAddr) {
    if let Err(error) = socket.send_to(datagram, to).await {
        eprintln!("to {to}: {error}");
    }
}

/// The address to bind to: the one asked for, or that which packets to the world leave from.
async fn address(options: &Options) -> Result<std::net::IpAddr, Failure> {
    if let Some(address) = options.address {
        return Ok(address);
    }
    // Connecting a UDP socket sends nothing.
    let probe = UdpSocket::bind("0.0.0.0:0").await?;
    probe.connect("192.0.2.1:9").await.map_err(|_| "no way out of here; give --address")?;
    Ok(probe.local_addr()?.ip())
}

async fn run() -> Result<(), Failure> {
    let options = Options::read()?;
    let (side, mut signaling, _room) = options.meet().await?;
    let mut signals_end = false;
    let mut peer = Peer::new(&options).await?;
    if side == Side::Offerer {
        peer.offer();
    }
    let mut buf = [0; LONGEST];
    while !(peer.heard && (peer.done || signals_end)) {
        // First floe: what it finds, str0m is to know.
        peer.drive_floe().await?;
        let str0m_due = peer.drive_str0m().await?;
        while let Some(signal) = peer.signals.pop_front() {
            // A peer that has left hears nothing.
            let _ = signaling.send(signal).await;
        }
        let relay_due = peer.relay.as_ref().and_then(|relay| relay.client.poll_timeout());
        let floe_due = peer.endpoint.poll_timeout().into_iter().chain(relay_due).min();
        let floe_due = floe_due.map(|at| peer.began + (at - floe::Instant::ZERO));
        let due = floe_due.map_or(str0m_due, |at| at.min(str0m_due));
        tokio::select! {
            received = peer.socket.recv_from(&mut buf) => match received {
                Ok((length, from)) => peer.receive(from, &buf[..length])?,
                // Such as what ICMP says of a datagram of before.
                Err(error) => eprintln!("socket: {error}"),
            },
            signal = signaling.recv(), if !signals_end => match signal {
                Some(Ok(signal)) => peer.take_signal(signal)?,
                Some(Err(error)) => eprintln!("signal: {error}"),
                None => signals_end = true,
            },
            () = tokio::time::sleep_until(due.into()) => {}
        }
        peer.rtc.handle_input(Input::Timeout(Instant::now()))?;
    }
    peer.close().await
}

#[tokio::main]
async fn main() {
    leave(run().await);
}
