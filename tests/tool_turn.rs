//! The tool with TURN servers: its own, and some that refuse.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![cfg(feature = "cli")]

#[allow(dead_code, reason = "other tests use more of it")]
#[path = "tool/process.rs"]
mod process;
#[allow(dead_code, reason = "other tests use more of it")]
#[path = "../src/bin/floe/turn_server.rs"]
mod turn_server;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use floe::stun::{AttributeType, Encoder, IntegrityKey, Message, MessageClass, Method};
use process::{Peer, floe, is, objects, relay, run};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{self, pki_types::PrivateKeyDer};
use turn_server::{Options, TurnServer};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

async fn server() -> TurnServer {
    TurnServer::start(Options::new(LOCALHOST).unwrap()).await.unwrap()
}

/// That no allocation stays behind when the processes are gone.
async fn assert_given_back(server: &TurnServer) {
    let mut tries = tokio::time::interval(Duration::from_millis(10));
    for _ in 0..500 {
        if server.relays() == 0 {
            return;
        }
        tries.tick().await;
    }
    panic!("{} relays are left", server.relays());
}

/// `floe gather` on 127.0.0.1 with one TURN server.
async fn gather(url: &str, username: &str, password: &str) -> (i32, Vec<Value>, String) {
    let arguments = ["gather", "--json", "--bind", "127.0.0.1", "--turn", url];
    let login = ["--username", username, "--password", password];
    let (code, stdout, stderr) = run(&[&arguments[..], &login].concat()).await;
    (code, objects(&stdout), stderr)
}

fn find<'a>(objects: &'a [Value], key: &str, value: &str) -> Option<&'a Value> {
    objects.iter().find(|object| object[key] == value)
}

/// That gathering ended without a relay: the sentence for people and the object for programs are of
/// one mind, and there is a host candidate all the same.
fn assert_no_relay(found: &(i32, Vec<Value>, String), fault: &str, words: &str) {
    let (code, objects, stderr) = found;
    assert_eq!(*code, 1, "{stderr}");
    // That time passes is told too.
    let mut said = stderr.lines().filter(|line| !line.starts_with("floe: asking the servers"));
    let (Some(stderr), None) = (said.next(), said.next()) else { panic!("{stderr}") };
    assert!(stderr.starts_with("floe: no relayed candidate: server 127.0.0.1:"), "{stderr}");
    assert!(stderr.contains(words), "{stderr}");
    let reason = |object: &&Value| stderr.contains(object["reason"].as_str().unwrap_or("none"));
    let failed = objects.iter().find(reason).unwrap_or_else(|| panic!("{objects:?}"));
    assert_eq!((&failed["type"], &failed["fault"]), (&json!("failed"), &json!(fault)));
    assert!(find(objects, "kind", "host").is_some());
}

/// A TURN server on 127.0.0.1 that answers who has logged in with an error of this code.
async fn refusing(code: u16) -> SocketAddr {
    let socket = UdpSocket::bind((LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let key = IntegrityKey::long_term_md5(b"alice", b"realm", b"secret");
        let (mut request, mut response) = ([0; 1500], [0; 1500]);
        loop {
            let (length, from) = socket.recv_from(&mut request).await.unwrap();
            let Ok(request) = Message::parse(&request[..length]) else { continue };
            let (method, id) = (request.method(), request.transaction_id());
            let is_binding = method == Method::BINDING;
            let class = if is_binding { MessageClass::Success } else { MessageClass::Error };
            let answer = Encoder::new(&mut response, class, method, id);
            let answer = if is_binding {
                answer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, from)
            } else if request.has_integrity() {
                answer.error_code(code, "No").integrity(&key)
            } else {
                let challenge = answer.error_code(401, "Who?");
                let challenge = challenge.attribute(AttributeType::REALM, b"realm");
                challenge.attribute(AttributeType::NONCE, b"nonce")
            };
            let length = answer.finish().unwrap();
            socket.send_to(&response[..length], from).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn gather_shows_each_relay_with_its_server_its_transport_and_its_time() {
    let server = server().await;
    for transport in ["udp", "tcp"] {
        let url = format!("turn:{}?transport={transport}", server.address());
        let (code, objects, stderr) = gather(&url, server.username(), server.password()).await;
        assert_eq!((code, stderr.as_str()), (0, ""));
        let given = objects.iter().find(|o| o["type"] == "server" && o["kind"] == "relay").unwrap();
        assert_eq!(given["server"], server.address().to_string());
        assert_eq!(given["transport"], transport);
        assert!(given["took_ms"].as_f64().unwrap() < 5_000.0);
        assert!(given["local"].as_str().unwrap().starts_with("127.0.0.1:"));
        let candidate = find(&objects, "type", "candidate").unwrap();
        assert_eq!(candidate["kind"], "host");
        let candidate =
            objects.iter().find(|o| o["type"] == "candidate" && o["kind"] == "relay").unwrap();
        assert_eq!(given["address"], format!("127.0.0.1:{}", candidate["port"]));
        assert_eq!(objects.last().unwrap()["type"], "complete");
    }
    assert_given_back(&server).await;
}

#[tokio::test]
async fn for_people_a_relay_is_one_line() {
    let server = server().await;
    let url = format!("turn:{}", server.address());
    let mut command = floe(&["gather", "--bind", "127.0.0.1", "--turn", &url]);
    command.args(["--username", server.username()]).env("FLOE_TURN_PASSWORD", server.password());
    let output = command.output().await.unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let of_server = |line: &&str| line.contains(" server ") && line.contains(" relay ");
    let line = text.lines().find(of_server).expect(&text);
    let of = format!("of {} over UDP in ", server.address());
    assert!(line.contains("relay  127.0.0.1:") && line.contains(&of), "{line}");
}

#[tokio::test]
async fn wrong_credentials_are_the_users() {
    let server = server().await;
    for transport in ["udp", "tcp"] {
        let url = format!("turn:{}?transport={transport}", server.address());
        for (username, password) in [(server.username(), "wrong"), ("nobody", server.password())] {
            let found = gather(&url, username, password).await;
            assert_no_relay(&found, "user", "check --username and --password");
        }
    }
    assert_eq!(server.relays(), 0);
}

#[tokio::test]
async fn what_a_server_refuses_is_said_with_a_way_out() {
    for (code, fault, words) in [
        (403, "server", "forbids relaying for this user; ask who runs the server"),
        (437, "user", "wait ten minutes until it expires"),
        (440, "server", "no relay address of the family; use another server"),
        (442, "server", "does not relay this transport; use another server"),
        (486, "user", "as many allocations as the server allows; close other connections"),
        (508, "server", "no relay address left; the server is full: try again later"),
        (500, "server", "code 500"),
    ] {
        let url = format!("turn:{}?transport=udp", refusing(code).await);
        assert_no_relay(&gather(&url, "alice", "secret").await, fault, words);
    }
}

#[tokio::test]
async fn a_full_server_is_the_servers() {
    let options = Options { max_relays: 0, ..Options::new(LOCALHOST).unwrap() };
    let server = TurnServer::start(options).await.unwrap();
    let url = format!("turn:{}?transport=tcp", server.address());
    let found = gather(&url, server.username(), server.password()).await;
    assert_no_relay(&found, "server", "try again later");
}

#[tokio::test]
async fn a_port_where_nothing_listens_is_said_to_be_closed() {
    // The ports are ours, so that no other test has them: one hears its own datagrams alone, and
    // nothing listens at the other.
    let udp = UdpSocket::bind((LOCALHOST, 0)).await.unwrap();
    let closed = udp.local_addr().unwrap();
    udp.connect(closed).await.unwrap();
    let found = gather(&format!("turn:{closed}?transport=udp"), "alice", "secret").await;
    assert_no_relay(&found, "network", "check the URL, that the server runs");
    let tcp = TcpSocket::new_v4().unwrap();
    tcp.bind((LOCALHOST, 0).into()).unwrap();
    let closed = tcp.local_addr().unwrap();
    let found = gather(&format!("turn:{closed}?transport=tcp"), "alice", "secret").await;
    assert_no_relay(&found, "server", "nothing listens there: check the port");
}

#[tokio::test]
async fn a_silent_server_is_told_of_with_other_transports_to_try() {
    let silent = UdpSocket::bind((LOCALHOST, 0)).await.unwrap();
    let url = format!("turn:{}?transport=udp", silent.local_addr().unwrap());
    let found = gather(&url, "alice", "secret").await;
    assert_no_relay(&found, "network", "?transport=tcp, or turns:");
}

/// TLS in front of a server, for the name localhost, and the file with the certificate.
async fn secured(server: SocketAddr, file: &str) -> (u16, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
    std::fs::write(&path, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = config.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            tokio::spawn(async move {
                let mut inner = TcpStream::connect(server).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut inner).await;
            });
        }
    });
    (port, path)
}

#[tokio::test]
async fn a_certificate_that_is_not_right_is_never_passed_over() {
    let server = server().await;
    let (port, path) = secured(server.address(), "localhost.pem").await;
    let login = ["--username", server.username(), "--password", server.password()];
    let roots = ["--tls-roots", path.to_str().unwrap()];
    for (host, roots, is_right) in [
        ("localhost", &roots[..], true),
        // The certificate is for the name.
        ("127.0.0.1", &roots[..], false),
        // Nobody vouches for it.
        ("localhost", &[], false),
    ] {
        let url = format!("turns:{host}:{port}");
        let arguments = ["gather", "--json", "--bind", "127.0.0.1", "--turn", &url];
        let (code, stdout, stderr) = run(&[&arguments[..], &login, roots].concat()).await;
        let objects = objects(&stdout);
        if is_right {
            assert_eq!((code, stderr.as_str()), (0, ""));
            assert_eq!(find(&objects, "type", "server").unwrap()["transport"], "tls");
        } else {
            assert_no_relay(&(code, objects, stderr), "server", "floe never goes on without");
        }
    }
    let (code, _, stderr) = run(&["gather", "--tls-roots", "no-such-file"]).await;
    assert!(code == 2 && stderr.contains("give a file of certificates in PEM"), "{stderr}");
}

#[tokio::test]
async fn a_port_that_does_not_speak_tls_is_said_to() {
    let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
    let url = format!("turns:localhost:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.write_all(b"220 mail.example\r\n").await;
        }
    });
    let found = gather(&url, "alice", "secret").await;
    assert_no_relay(&found, "server", "check that this port speaks TLS");
}

#[tokio::test]
async fn a_name_that_cannot_be_resolved_is_named() {
    let url = "turn:no-such-name.invalid";
    let (code, _, stderr) = gather(url, "alice", "secret").await;
    assert_eq!(code, 1);
    let [unresolved, failure] = stderr.lines().collect::<Vec<_>>()[..] else { panic!("{stderr}") };
    assert!(unresolved.contains("no-such-name.invalid"), "{stderr}");
    assert!(unresolved.contains("cannot be resolved; check the name"), "{stderr}");
    assert!(failure.starts_with("floe: no relayed candidate: "), "{stderr}");
}

#[tokio::test]
async fn a_wrong_command_line_is_one_sentence_that_shows_no_password() {
    let one = ["gather", "--turn", "turn:127.0.0.1", "--username", "alice"];
    let secret = ["--password", "hunter2"];
    for (arguments, words) in [
        (&["gather", "--turn", "turn:127.0.0.1"][..], "--turn needs --username"),
        (&one, "--turn needs --password; add it, or set FLOE_TURN_PASSWORD"),
        (&["gather", "--username", "alice"], "--username is for a TURN server; add --turn URL"),
        (&[&["gather"][..], &secret].concat(), "--password is for a TURN server"),
        (&["gather", "--policy", "relay"], "--policy relay needs a TURN server; add --turn URL"),
        (&["peer", "--controlled", "--policy", "relay"], "add --turn URL"),
        (
            &[&one[..], &secret, &["--password", "hunter3", "--password", "hunter4"]].concat(),
            "1 --turn and 3 --password; give one --password for each --turn",
        ),
        (&[&["gather", "--turn", "example.org"], &one[3..], &secret].concat(), "scheme"),
        (&[&["gather", "--turn", "stun:example.org"], &one[3..], &secret].concat(), "turn:"),
        (
            &[&["gather", "--turn", "turn:a?transport=sctp"], &one[3..], &secret].concat(),
            "transport",
        ),
        (&[&["gather", "--turn", "turn:a:0"], &one[3..], &secret].concat(), "port"),
        (&[&["gather", "--turn", "turn:a:hunter2@b"], &one[3..], &secret].concat(), "--turn URL: "),
    ] {
        let (code, stdout, stderr) = run(arguments).await;
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?} {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.starts_with("floe: ") && stderr.contains(words), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("hunter"), "{stderr}");
    }
}

#[tokio::test]
async fn no_password_appears_anywhere() {
    let server = server().await;
    let url = format!("turn:{}", server.address());
    for password in [server.password(), "hunter2"] {
        for command in ["gather", "demo"] {
            let mut command = floe(&[command, "-vvv", "--bind", "127.0.0.1", "--turn", &url]);
            command.args(["--username", server.username()]).env("FLOE_TURN_PASSWORD", password);
            let output = command.output().await.unwrap();
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text);
            assert!(text.contains("relay"), "{text}");
            assert!(!text.contains(password), "{text}");
        }
    }
}

#[tokio::test]
async fn each_server_may_have_credentials_of_its_own() {
    let one = server().await;
    // All ports of one host would be taken for ways to one server.
    let other = Options::new("127.0.0.2".parse().unwrap()).unwrap();
    let other = TurnServer::start(other).await.unwrap();
    let urls = [&one, &other].map(|server| format!("turn:{}?transport=udp", server.address()));
    let mut arguments = vec!["gather", "--json", "--bind", "127.0.0.1"];
    for (url, server) in urls.iter().zip([&one, &other]) {
        arguments.extend(["--turn", url, "--username", server.username()]);
        arguments.extend(["--password", server.password()]);
    }
    let (code, stdout, stderr) = run(&arguments).await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    let objects = objects(&stdout);
    let relays = objects.iter().filter(|o| o["type"] == "server" && o["kind"] == "relay");
    assert_eq!(relays.count(), 2, "{stdout}");
}

#[tokio::test]
async fn two_peers_talk_over_the_relay_alone() {
    let server = server().await;
    for transport in ["udp", "tcp"] {
        let url = format!("turn:{}?transport={transport}", server.address());
        let login = ["--username", server.username(), "--password", server.password()];
        let relayed = [&["--policy", "relay", "--turn", &url], &login[..]].concat();
        let mut left = Peer::start(&[&["--controlling"], &relayed[..]].concat());
        let mut right = Peer::start(&[&["--controlled"], &relayed[..]].concat());
        let (selected, other) = relay(&mut left, &mut right, is("selected")).await;
        for end in [&selected["local"], &selected["remote"], &other["local"], &other["remote"]] {
            assert_eq!((&end["type"], &end["address"]), (&json!("relay"), &json!("127.0.0.1")));
        }
        let before = server.relayed();
        left.tell(r#"{"type":"send","text":"hello"}"#).await;
        assert_eq!(right.until(is("data")).await["text"], "hello");
        right.tell(r#"{"type":"send","text":"hello yourself"}"#).await;
        assert_eq!(left.until(is("data")).await["text"], "hello yourself");
        assert!(server.relayed() > before);
        left.tell(r#"{"type":"close"}"#).await;
        right.tell(r#"{"type":"close"}"#).await;
        assert_eq!((left.ends().await, right.ends().await), (0, 0));
    }
    assert_given_back(&server).await;
}

#[tokio::test]
async fn a_peer_says_why_it_has_no_relay_and_goes_on() {
    let server = server().await;
    let url = format!("turn:{}", server.address());
    let login = ["--turn", &url, "--username", server.username(), "--password", "wrong"];
    let mut left = Peer::start(&[&["--controlling"], &login[..]].concat());
    let error = left.until(is("error")).await;
    let sentence = error["error"].as_str().unwrap();
    assert!(sentence.contains("check --username and --password"), "{sentence}");
    left.tell(r#"{"type":"close"}"#).await;
    assert_eq!(left.ends().await, 0);
}

#[tokio::test]
async fn the_demo_falls_back_on_the_relay_where_there_is_no_other_path() {
    let (code, stdout, stderr) = run(&["demo", "--json", "--bind", "127.0.0.1"]).await;
    let objects = objects(&stdout);
    let result = objects.last().unwrap();
    assert_eq!((code, &result["connected"]), (0, &json!(true)), "{stderr}");
    assert_eq!(result["recovered_by"], "switch");
    assert!(result["relay_ms"].is_number() && result["direct_ms"].is_number());
    let paths: Vec<_> = objects.iter().filter(|object| object["type"] == "path").collect();
    assert_eq!(paths[0]["stops"].as_array().unwrap().len(), 2);
    assert!(paths[1]["stops"].as_array().unwrap().len() > 2, "{stdout}");
}

#[tokio::test]
async fn the_demo_shows_a_path_over_relays_alone() {
    for transport in ["udp", "tcp"] {
        let arguments = ["demo", "--json", "--policy", "relay", "--bind", "127.0.0.1"];
        let over = ["--relay-transport", transport];
        let (code, stdout, stderr) = run(&[&arguments[..], &over].concat()).await;
        let objects = objects(&stdout);
        let result = objects.last().unwrap();
        assert_eq!((code, &result["connected"]), (0, &json!(true)), "{stderr}");
        assert_eq!(result["direct_ms"], Value::Null);
        let given = find(&objects, "type", "server").unwrap();
        assert_eq!((&given["kind"], &given["transport"]), (&json!("relay"), &json!(transport)));
        // Before the path was killed and after.
        assert_eq!(objects.iter().filter(|object| object["type"] == "path").count(), 2);
        let path = find(&objects, "type", "path").unwrap();
        let stops: Vec<_> = path["stops"].as_array().unwrap().iter().map(|s| s.as_str()).collect();
        let kinds = stops.iter().map(|stop| stop.unwrap().split(' ').next().unwrap());
        let kinds: Vec<_> = kinds.collect();
        assert_eq!(kinds, ["left", "server", "relay", "relay", "server", "right"]);
        assert!(objects.iter().all(|object| object["candidate"]["type"] != "host"));
    }
}
