//! How many packets a second go through coturn, and what the client spends on each.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use floe::stun::LongTerm;
use floe::turn::{Client, ClientConfig, Families, Received};
use floe::{HEADROOM, MIN_TRANSMIT, TAILROOM, Transport};
use lab::{CLIENTS, Coturn, Network, PASSWORD, REALM, USER};
use tokio::net::UdpSocket;
use webrtc_util::Conn;

use super::PAYLOAD;
use crate::measure::{Heap, Spread, cpu_micros};
use crate::report::{Report, Table};

/// Datagrams under way: what fits into the buffers of all sockets on the way.
const WINDOW: u64 = 32;
/// After this a datagram is lost.
const PATIENCE: Duration = Duration::from_millis(500);

const FLOE: &str = "floe (turn::Client, tokio socket)";
const WEBRTC: &str = "turn 0.17 (client, tokio socket)";

/// What one client did in one round.
struct Sample {
    per_second: f64,
    cpu_nanos: f64,
    allocations: f64,
    lost: u64,
}

/// What one client did one way.
#[derive(Default)]
struct Figures {
    per_second: Vec<f64>,
    cpu_nanos: Vec<f64>,
    allocations: Vec<f64>,
    lost: u64,
}

impl Figures {
    fn add(&mut self, sample: &Sample) {
        self.per_second.push(sample.per_second);
        self.cpu_nanos.push(sample.cpu_nanos);
        self.allocations.push(sample.allocations);
        self.lost += sample.lost;
    }

    fn print(&self, name: &str, way: &str) {
        Table::row(&[
            &format!("{name}: {way}"),
            &Spread::show(&self.per_second, 0),
            &Spread::show(&self.cpu_nanos, 0),
            &Spread::show(&self.allocations, 2),
            &self.lost.to_string(),
        ]);
    }

    fn median(samples: &[f64]) -> f64 {
        Spread::of(samples).map_or(f64::NAN, |spread| spread.median)
    }
}

/// Sends `packets` in windows, and counts.
async fn round(
    packets: u64,
    mut send: impl AsyncFnMut(),
    mut receive: impl AsyncFnMut(),
) -> Sample {
    let (start, cpu, heap) = (Instant::now(), cpu_micros(), Heap::now());
    let mut lost = 0;
    for _ in 0..packets / WINDOW {
        for _ in 0..WINDOW {
            send().await;
        }
        for received in 0..WINDOW {
            if tokio::time::timeout(PATIENCE, receive()).await.is_err() {
                lost += WINDOW - received;
                break;
            }
        }
    }
    let (taken, cpu, heap) = (start.elapsed(), cpu_micros() - cpu, Heap::now() - heap);
    let packets = packets as f64;
    Sample {
        per_second: packets / taken.as_secs_f64(),
        cpu_nanos: cpu * 1e3 / packets,
        allocations: heap.allocations as f64 / packets,
        lost,
    }
}

/// floe's client on a socket of tokio.
struct Floe {
    client: RefCell<Client>,
    socket: UdpSocket,
    start: Instant,
}

impl Floe {
    async fn start() -> Self {
        let credentials = LongTerm::new(USER.as_bytes(), PASSWORD.as_bytes()).expect("short");
        let mut config = ClientConfig::new(Transport::Udp, credentials);
        config.families = Families::Ipv4;
        let client = RefCell::new(Client::new(floe::Instant::ZERO, config, [9; 32]));
        let socket = UdpSocket::bind((CLIENTS[0], 0)).await.expect("an address of this host");
        Self { client, socket, start: Instant::now() }
    }

    fn now(&self) -> floe::Instant {
        floe::Instant::ZERO + self.start.elapsed()
    }

    /// Sends what the client wants to send.
    async fn work(&self) {
        let mut buffer = [0; MIN_TRANSMIT];
        self.client.borrow_mut().handle_timeout(self.now());
        loop {
            let packet = self.client.borrow_mut().poll_transmit(self.now(), &mut buffer);
            let Some(len) = packet else { break };
            self.socket.send_to(&buffer[..len], Coturn::PLAIN).await.expect("sent");
        }
        while self.client.borrow_mut().poll_event().is_some() {}
    }

    /// Works until `done`.
    async fn until(&self, done: impl Fn(&mut Client) -> bool) {
        let mut buffer = [0; 1500];
        let deadline = Instant::now() + Duration::from_secs(5);
        while !done(&mut self.client.borrow_mut()) {
            assert!(Instant::now() < deadline, "floe gets nowhere");
            self.work().await;
            let wait = Duration::from_millis(20);
            if let Ok(received) =
                tokio::time::timeout(wait, self.socket.recv_from(&mut buffer)).await
            {
                let (len, _) = received.expect("received");
                let _ = self.client.borrow_mut().handle_datagram(self.now(), &buffer[..len]);
            }
        }
    }

    /// Allocates and binds a channel; returns the relayed address.
    async fn establish(&self, peer: SocketAddr) -> SocketAddr {
        self.until(|client| client.relayed().next().is_some()).await;
        let now = self.now();
        self.client.borrow_mut().permit(now, peer.ip()).expect("a permission");
        self.client.borrow_mut().bind_channel(now, peer).expect("a channel");
        self.until(|client| {
            let mut buffer = [0; HEADROOM + TAILROOM];
            let framing = client.framing(peer);
            let framed = framing.and_then(|way| way.frame(&mut buffer, HEADROOM..HEADROOM));
            framed.is_some_and(|range| range.len() == 4)
        })
        .await;
        self.client.borrow().relayed().next().expect("allocated")
    }

    async fn send(&self, peer: SocketAddr, data: &[u8]) {
        let mut buffer = [0; HEADROOM + PAYLOAD + TAILROOM];
        let end = HEADROOM + data.len();
        buffer[HEADROOM..end].copy_from_slice(data);
        let framing = self.client.borrow_mut().framing(peer).expect("a channel");
        let range = framing.frame(&mut buffer, HEADROOM..end).expect("room");
        self.socket.send_to(&buffer[range], Coturn::PLAIN).await.expect("sent");
    }

    async fn receive(&self, into: &mut [u8]) -> usize {
        let mut buffer = [0; 1500];
        loop {
            let (len, from) = self.socket.recv_from(&mut buffer).await.expect("received");
            if from != Coturn::PLAIN {
                continue;
            }
            let now = self.now();
            if let Received::Data { data, .. } =
                self.client.borrow_mut().handle_datagram(now, &buffer[..len])
            {
                into[..data.len()].copy_from_slice(data);
                return data.len();
            }
        }
    }
}

/// The client of webrtc-rs, with a relay that has a channel to `peer`.
async fn webrtc(peer: &UdpSocket) -> (turn::client::Client, impl Conn) {
    let socket = UdpSocket::bind((CLIENTS[0], 0)).await.expect("an address of this host");
    let client = turn::client::Client::new(turn::client::ClientConfig {
        stun_serv_addr: Coturn::PLAIN.to_string(),
        turn_serv_addr: Coturn::PLAIN.to_string(),
        username: USER.into(),
        password: PASSWORD.into(),
        realm: REALM.into(),
        software: String::new(),
        rto_in_ms: 0,
        conn: std::sync::Arc::new(socket),
        vnet: None,
    })
    .await
    .expect("a client");
    client.listen().await.expect("a client that listens");
    let relay = client.allocate().await.expect("an allocation");
    let to = peer.local_addr().expect("bound");
    // It binds the channel in the background: the first packets are indications.
    let mut buffer = [0; 1500];
    for _ in 0..50 {
        relay.send_to(b"hello", to).await.expect("sent");
        let _ = tokio::time::timeout(PATIENCE, peer.recv_from(&mut buffer)).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (client, relay)
}

/// Both clients, both ways, their rounds interleaved.
async fn measure(rounds: usize, packets: u64) -> [[Figures; 2]; 2] {
    let mut all = [[(); 2]; 2].map(|ways| ways.map(|()| Figures::default()));
    let data = [0x80; PAYLOAD];
    let (mut buffer, mut buffer2) = ([0; 1500], [0; 1500]);

    let peer = UdpSocket::bind((CLIENTS[1], 0)).await.expect("an address of this host");
    let to = peer.local_addr().expect("bound");
    let floe = Floe::start().await;
    let floe_relay = floe.establish(to).await;
    let (webrtc, relay) = webrtc(&peer).await;
    let webrtc_relay = relay.local_addr().expect("allocated");

    for number in 0..=rounds {
        let send = async || floe.send(to, &data).await;
        let receive = async || {
            peer.recv_from(&mut buffer).await.expect("received");
        };
        let floe_out = round(packets, send, receive).await;
        let send = async || {
            peer.send_to(&data, floe_relay).await.expect("sent");
        };
        let receive = async || assert_eq!(floe.receive(&mut buffer2).await, PAYLOAD);
        let floe_in = round(packets, send, receive).await;
        floe.work().await;

        let send = async || {
            relay.send_to(&data, to).await.expect("sent");
        };
        let receive = async || {
            peer.recv_from(&mut buffer).await.expect("received");
        };
        let webrtc_out = round(packets, send, receive).await;
        let send = async || {
            peer.send_to(&data, webrtc_relay).await.expect("sent");
        };
        let receive = async || {
            let (len, _) = relay.recv_from(&mut buffer2).await.expect("received");
            assert_eq!(len, PAYLOAD);
        };
        let webrtc_in = round(packets, send, receive).await;

        // The first round warms up.
        if number > 0 {
            let samples = [[floe_out, floe_in], [webrtc_out, webrtc_in]];
            for (figures, sample) in all.iter_mut().flatten().zip(samples.as_flattened()) {
                figures.add(sample);
            }
        }
    }
    let _ = webrtc.close().await;
    all
}

/// Runs the part, in a network of its own, where that can be had.
pub fn run(report: &mut Report) {
    println!("\n### Through coturn, 1200-octet datagrams, {WINDOW} under way\n");
    if let Some(missing) = lab::missing() {
        println!("!!! NOT MEASURED: {missing}");
        return;
    }
    let (rounds, packets) = if report.quick { (2, 1600) } else { (9, 16_000) };
    // The thread moves into a network of its own, and never comes back.
    let work = move || {
        let network = Network::enter();
        let coturn = Coturn::start(&network, &[]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let before = coturn.cpu();
        let figures = runtime.expect("a runtime").block_on(measure(rounds, packets));
        let spent = coturn.cpu().zip(before).map(|(after, before)| after - before);
        (figures, spent)
    };
    let (figures, spent) = std::thread::spawn(work).join().expect("no panic");

    const WAYS: [&str; 2] = ["client → coturn → peer", "peer → coturn → client"];
    Table::begin(&["way", "packets/s", "CPU ns/packet, both ends", "allocs/packet", "lost"]);
    for (name, ways) in [FLOE, WEBRTC].iter().zip(&figures) {
        for (way, figures) in WAYS.iter().zip(ways) {
            figures.print(name, way);
        }
    }
    if let Some(spent) = spent {
        let relayed = 4 * (rounds as u64 + 1) * packets;
        let each = spent.as_nanos() as f64 / relayed as f64;
        println!("\ncoturn itself: {each:.0} ns of CPU for each packet.");
    }
    for (index, way) in WAYS.iter().enumerate() {
        let cell = |figures: &Figures| {
            let (rate, cpu) = (&figures.per_second, &figures.cpu_nanos);
            let (rate, cpu) = (Figures::median(rate) / 1e3, Figures::median(cpu) / 1e3);
            let allocations = Figures::median(&figures.allocations);
            format!("{rate:.0} k/s, {cpu:.1} µs CPU, {allocations:.0} allocations")
        };
        let [floe, webrtc] = figures.each_ref().map(|ways| cell(&ways[index]));
        let target = "ahead, 0 allocations";
        let work = format!("1200-octet datagrams, {way}");
        report.headline(&work, &format!("{webrtc} (turn 0.17)"), "—", &floe, target);
    }
}
