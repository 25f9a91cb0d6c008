//! Two agents meet on real loopback sockets, from descriptions in hand to both sendable.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use webrtc_ice::agent::Agent as WebrtcAgent;
use webrtc_ice::agent::agent_config::AgentConfig;
use webrtc_ice::candidate::Candidate;
use webrtc_ice::candidate::candidate_base::unmarshal_candidate;
use webrtc_ice::mdns::MulticastDnsMode;
use webrtc_ice::network_type::NetworkType;

use crate::agents::floe::Floe;
use crate::agents::is::Is;
use crate::agents::rice::Rice;
use crate::agents::rtc::Rtc;
use crate::agents::{Agent, MAX_DATAGRAM, Packet, Readiness, Role};
use crate::measure::{Spread, cpu_micros};
use crate::report::{Report, Table};

const LIMIT: Duration = Duration::from_secs(5);

/// What the meetings of one crate took.
#[derive(Default)]
struct Meetings {
    sendable_millis: Vec<f64>,
    selected_millis: Vec<f64>,
    cpu_micros: Vec<f64>,
    packets: Vec<f64>,
}

impl Meetings {
    fn print(&self, name: &str) {
        Table::row(&[
            name,
            &Spread::show(&self.sendable_millis, 3),
            &Spread::show(&self.selected_millis, 3),
            &Spread::show(&self.cpu_micros, 0),
            &Spread::show(&self.packets, 0),
        ]);
    }

    fn median_millis(&self) -> f64 {
        Spread::of(&self.sendable_millis).map_or(f64::INFINITY, |spread| spread.median)
    }
}

/// Two agents on two sockets, in one thread.
struct Pair<A> {
    agents: [A; 2],
    sockets: [UdpSocket; 2],
    addresses: [SocketAddr; 2],
    packet: Packet,
    packets: u64,
}

impl<A: Agent> Pair<A> {
    fn bind() -> Self {
        let sockets = [0; 2].map(|_| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback socket");
            socket.set_nonblocking(true).expect("a non-blocking socket");
            socket
        });
        let addresses = sockets.each_ref().map(|socket| socket.local_addr().expect("bound"));
        let now = Instant::now();
        let agents = [
            A::new(now, Role::Controlling, &addresses[..1]),
            A::new(now, Role::Controlled, &addresses[1..]),
        ];
        Self { agents, sockets, addresses, packet: Packet::empty(), packets: 0 }
    }

    /// Reads, fires timers and writes for one side.
    fn drive(&mut self, side: usize) -> Readiness {
        let (agent, socket) = (&mut self.agents[side], &self.sockets[side]);
        let now = Instant::now();
        let mut buffer = [0; MAX_DATAGRAM];
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            self.packet.fill(from, self.addresses[side], &buffer[..len]);
            agent.handle_packet(now, &self.packet);
        }
        if agent.poll_timeout(now).is_some_and(|deadline| deadline <= now) {
            agent.handle_timeout(now);
        }
        while agent.poll_transmit(now, &mut self.packet) {
            self.packets += 1;
            socket.send_to(self.packet.data(), self.packet.to).expect("loopback takes it");
        }
        agent.readiness()
    }

    /// Waits until a socket is readable or a timer is due.
    fn wait(&mut self) {
        let now = Instant::now();
        let deadline = self.agents.iter_mut().filter_map(|agent| agent.poll_timeout(now)).min();
        let wait = deadline.map_or(LIMIT, |deadline| deadline.saturating_duration_since(now));
        let timeout = libc::timespec {
            tv_sec: wait.as_secs() as libc::time_t,
            tv_nsec: libc::c_long::from(wait.subsec_nanos()),
        };
        let mut readable = self.sockets.each_ref().map(|socket| libc::pollfd {
            fd: socket.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        });
        // SAFETY: both outlive the call.
        unsafe { libc::ppoll(readable.as_mut_ptr(), 2, &timeout, std::ptr::null()) };
    }
}

fn with_poll_loop<A: Agent>(repeats: usize) -> Meetings {
    let mut meetings = Meetings::default();
    for _ in 0..repeats {
        let mut pair = Pair::<A>::bind();
        let descriptions = pair.agents.each_ref().map(A::description);
        let cpu = cpu_micros();
        let start = Instant::now();
        pair.agents[0].set_remote(start, &descriptions[1]);
        pair.agents[1].set_remote(start, &descriptions[0]);
        let mut sendable = None;
        let selected = loop {
            let both = [pair.drive(0), pair.drive(1)];
            if sendable.is_none() && both.iter().all(|side| side.sendable) {
                sendable = Some(start.elapsed());
            }
            if both.iter().all(|side| side.selected) {
                break Some(start.elapsed());
            }
            if start.elapsed() > LIMIT {
                break None;
            }
            pair.wait();
        };
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        meetings.sendable_millis.extend(sendable.map(millis));
        meetings.selected_millis.extend(selected.map(millis));
        meetings.cpu_micros.push(cpu_micros() - cpu);
        meetings.packets.push(pair.packets as f64);
    }
    meetings
}

async fn webrtc_agent(role: Role) -> Arc<WebrtcAgent> {
    let config = AgentConfig {
        network_types: vec![NetworkType::Udp4],
        include_loopback: true,
        is_controlling: role == Role::Controlling,
        multicast_dns_mode: MulticastDnsMode::Disabled,
        ip_filter: Arc::new(Some(Box::new(|ip: std::net::IpAddr| ip.is_loopback()))),
        ..Default::default()
    };
    let agent = Arc::new(WebrtcAgent::new(config).await.expect("an agent"));
    let (done, mut gathered) = tokio::sync::mpsc::channel::<()>(1);
    agent.on_candidate(Box::new(move |candidate: Option<Arc<dyn Candidate + Send + Sync>>| {
        let done = done.clone();
        Box::pin(async move {
            if candidate.is_none() {
                let _ = done.send(()).await;
            }
        })
    }));
    agent.gather_candidates().expect("gathering starts");
    gathered.recv().await;
    agent
}

async fn exchange_candidates(from: &WebrtcAgent, to: &WebrtcAgent) {
    for candidate in from.get_local_candidates().await.expect("candidates") {
        let copy = unmarshal_candidate(&candidate.marshal()).expect("its own line");
        let copy: Arc<dyn Candidate + Send + Sync> = Arc::new(copy);
        to.add_remote_candidate(&copy).expect("a new candidate");
    }
}

/// Returns the time from dial and accept until both return.
async fn webrtc_meeting() -> (Duration, f64) {
    let (left, right) =
        (webrtc_agent(Role::Controlling).await, webrtc_agent(Role::Controlled).await);
    exchange_candidates(&left, &right).await;
    exchange_candidates(&right, &left).await;
    let (left_ufrag, left_password) = left.get_local_user_credentials().await;
    let (right_ufrag, right_password) = right.get_local_user_credentials().await;
    let (_keep_left, cancel_left) = tokio::sync::mpsc::channel(1);
    let (_keep_right, cancel_right) = tokio::sync::mpsc::channel(1);
    let cpu = cpu_micros();
    let start = Instant::now();
    let acceptor = right.clone();
    let accepted = tokio::spawn(async move {
        acceptor.accept(cancel_right, left_ufrag, left_password).await.map(drop)
    });
    left.dial(cancel_left, right_ufrag, right_password).await.expect("a connection");
    accepted.await.expect("no panic").expect("a connection");
    let taken = start.elapsed();
    let cpu = cpu_micros() - cpu;
    let _ = (left.close().await, right.close().await);
    (taken, cpu)
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

fn webrtc(repeats: usize) -> Meetings {
    let runtime = runtime();
    let mut meetings = Meetings::default();
    for _ in 0..repeats {
        let (taken, cpu) = runtime.block_on(webrtc_meeting());
        meetings.sendable_millis.push(taken.as_secs_f64() * 1e3);
        meetings.cpu_micros.push(cpu);
    }
    meetings
}

/// Runs the section.
pub fn run(report: &mut Report) {
    report.section("Connecting on real loopback sockets (from descriptions in hand)");
    Table::begin(&["crate", "both sendable, ms", "both selected, ms", "CPU µs", "packets"]);
    let repeats = if report.quick { 3 } else { 30 };
    let floe = with_poll_loop::<Floe>(repeats);
    floe.print("floe (own poll loop)");
    let peers = [
        ("is 0.12 (own poll loop)", with_poll_loop::<Is>(repeats)),
        ("rice-proto 0.4.3 (own poll loop)", with_poll_loop::<Rice>(repeats)),
        ("rtc-ice 0.21 (own poll loop)", with_poll_loop::<Rtc>(repeats)),
        ("webrtc-ice 0.17.2 (tokio)", webrtc(repeats)),
    ];
    peers.iter().for_each(|(name, meetings)| meetings.print(name));
    let best = peers.iter().min_by(|a, b| a.1.median_millis().total_cmp(&b.1.median_millis()));
    let (name, best) = best.expect("peers");
    report.headline(
        "connecting on loopback sockets: both sendable",
        &format!("{:.3} ms ({name})", best.median_millis()),
        "≈ 0.013 ms",
        &format!("{:.3} ms", floe.median_millis()),
        "≤ 0.1 ms",
    );
}
