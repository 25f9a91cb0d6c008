//! The programs of this package with each other: two processes, their signalling crossed, on
//! loopback.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use floe::stun::{AttributeType, Encoder, Message, MessageClass, Method};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use turn_interop::servers::Proto;

const DATA_CHANNEL: &str = env!("CARGO_BIN_EXE_data_channel");
const STR0M: &str = env!("CARGO_BIN_EXE_str0m");

fn start(program: &str, side: &str, more: &[&str]) -> Child {
    let mut command = Command::new(program);
    command.args([side, "--address", "127.0.0.1", "--say", &format!("words of the {side}")]);
    command.args(more).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Passes on what one says to the other until it has left.
async fn signal(from: &mut Child, to: &mut Child) -> impl Future<Output = ()> + use<> {
    let (mut from, mut to) = (from.stdout.take().unwrap(), to.stdin.take().unwrap());
    async move {
        let _ = tokio::io::copy(&mut from, &mut to).await;
    }
}

/// What it told until it had left.
async fn told(child: &mut Child) -> String {
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).await.unwrap();
    text
}

/// Has two programs meet; returns what both told.
async fn meet(offerer: &str, answerer: &str, more: &[&str]) -> [String; 2] {
    let mut left = start(offerer, "offer", more);
    let mut right = start(answerer, "answer", more);
    tokio::spawn(signal(&mut left, &mut right).await);
    tokio::spawn(signal(&mut right, &mut left).await);
    let both = async { tokio::join!(told(&mut left), told(&mut right)) };
    let (near, far) = timeout(Duration::from_secs(60), both).await.expect("they do not leave");
    assert!(near.contains("echo: words of the offer"), "offerer:\n{near}\nanswerer:\n{far}");
    assert!(far.contains("echo: words of the answer"), "offerer:\n{near}\nanswerer:\n{far}");
    let ends = [left.wait().await.unwrap(), right.wait().await.unwrap()];
    assert!(ends.iter().all(|end| end.success()), "offerer:\n{near}\nanswerer:\n{far}");
    [near, far]
}

/// A TURN server in this process, and the arguments that name it.
fn turn() -> (Proto, Vec<String>) {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let server = Proto::start((loopback, 0).into(), &[loopback], 1, Duration::from_secs(3600));
    let listen = server.address().to_string();
    let arguments = ["--relay", "--turn", &listen, lab::USER, lab::PASSWORD];
    (server, arguments.map(str::to_owned).to_vec())
}

async fn meet_at_a_relay(offerer: &str, answerer: &str) -> [String; 2] {
    let (_server, arguments) = turn();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    meet(offerer, answerer, &arguments).await
}

#[tokio::test(flavor = "multi_thread")]
async fn data_channels_of_webrtc_rs_run_over_floe() {
    for text in meet(DATA_CHANNEL, DATA_CHANNEL, &[]).await {
        assert!(text.contains("secured: the certificate is that of the SDP"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_channels_of_webrtc_rs_run_over_a_relay_of_floe() {
    meet_at_a_relay(DATA_CHANNEL, DATA_CHANNEL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn str0m_connects_with_the_candidates_of_floe() {
    for text in meet(STR0M, STR0M, &[]).await {
        assert!(text.contains(" 127.0.0.1 "), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_str0m_meet_at_the_relay_of_floe_alone() {
    for text in meet_at_a_relay(STR0M, STR0M).await {
        assert!(text.contains("typ relay"), "{text}");
        assert!(!text.contains("typ host") && !text.contains("typ srflx"), "{text}");
    }
}

/// A server that sees all as if a NAT were between.
async fn answer_as_if_behind_a_nat(server: tokio::net::UdpSocket, mapped: SocketAddr) {
    let mut buf = [0; 1500];
    while let Ok((length, from)) = server.recv_from(&mut buf).await {
        let Ok(request) = Message::parse(&buf[..length]) else { continue };
        let id = request.transaction_id();
        let mut answer = [0; 128];
        let length = Encoder::new(&mut answer, MessageClass::Success, Method::BINDING, id)
            .xor_address(AttributeType::XOR_MAPPED_ADDRESS, mapped)
            .finish()
            .unwrap();
        server.send_to(&answer[..length], from).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn str0m_offers_the_reflexive_candidate_that_floe_gathers() {
    let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap().to_string();
    tokio::spawn(answer_as_if_behind_a_nat(server, "192.0.2.7:4000".parse().unwrap()));
    let mut child = start(STR0M, "offer", &["--stun", &address]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let told = timeout(Duration::from_secs(20), async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("192.0.2.7 4000 typ srflx") {
                return true;
            }
        }
        false
    });
    assert!(told.await.expect("nothing is trickled"));
}

#[tokio::test(flavor = "multi_thread")]
async fn str0m_and_webrtc_rs_over_floe_understand_each_other() {
    meet(STR0M, DATA_CHANNEL, &[]).await;
    meet(DATA_CHANNEL, STR0M, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_fingerprint_ends_the_handshake() {
    let mut left = start(DATA_CHANNEL, "offer", &[]);
    let mut right = start(DATA_CHANNEL, "answer", &[]);
    let forward = signal(&mut left, &mut right).await;
    tokio::spawn(forward);
    // What the answerer says of itself is changed under way.
    let (mut from, mut to) = (right.stdout.take().unwrap(), left.stdin.take().unwrap());
    tokio::spawn(async move {
        let mut lines = BufReader::new(&mut from).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let at = line.find("sha-256 ").map(|at| at + "sha-256 ".len());
            let line = at.map_or(line.clone(), |at| {
                let other = if line[at..].starts_with("00") { "FF" } else { "00" };
                format!("{}{other}{}", &line[..at], &line[at + 2..])
            });
            if to.write_all(format!("{line}\n").as_bytes()).await.is_err() {
                return;
            }
        }
    });
    let text = timeout(Duration::from_secs(60), told(&mut left)).await.expect("it does not leave");
    assert!(text.contains("failed: ") && !text.contains("secured"), "{text}");
    assert!(!left.wait().await.unwrap().success());
}
