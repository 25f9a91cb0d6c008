//! The tool as its users meet it: processes, pipes, exit codes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking"
)]
#![cfg(feature = "cli")]

#[allow(dead_code, reason = "other tests use more of it")]
#[path = "tool/process.rs"]
mod process;

use process::{LIMIT, Peer, is, objects, relay, run};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

#[tokio::test]
async fn the_demo_connects_switches_and_says_so() {
    let (code, stdout, _) = run(&["demo", "--json", "--interface", "lo"]).await;
    let objects = objects(&stdout);
    let result = objects.last().unwrap();
    assert_eq!((code, &result["type"], &result["connected"]), (0, &json!("result"), &json!(true)));
    assert_eq!(result["data"], true);
    for wanted in ["candidate", "pair", "selected", "data", "blocked", "recovered"] {
        assert!(objects.iter().any(|object| object["type"] == wanted), "no {wanted}");
    }
    let pair = objects.iter().find(|object| object["type"] == "pair").unwrap();
    assert_eq!(pair["state"], "succeeded");
}

#[tokio::test]
async fn gather_lists_candidates_and_ends() {
    let (code, stdout, _) = run(&["gather", "--json", "--bind", "127.0.0.1"]).await;
    let objects = objects(&stdout);
    assert_eq!(code, 0);
    assert_eq!(objects.last().unwrap()["type"], "complete");
    let found: Vec<_> = objects.iter().filter(|object| object["type"] == "candidate").collect();
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0]["kind"], &found[0]["address"]), (&json!("host"), &json!("127.0.0.1")));
    assert!(found[0]["ms"].is_number());
    assert!(found[0]["candidate"].as_str().unwrap().starts_with("candidate:"));
}

#[tokio::test]
async fn a_demo_that_cannot_start_still_ends_with_a_result() {
    let (code, stdout, stderr) = run(&["demo", "--json", "--interface", "no-such-thing"]).await;
    let objects = objects(&stdout);
    assert_eq!(code, 1);
    let result = objects.last().unwrap();
    assert_eq!((&result["type"], &result["connected"]), (&json!("result"), &json!(false)));
    assert!(stderr.contains(result["error"].as_str().unwrap()));
}

#[tokio::test]
async fn a_server_that_never_answers_is_named_as_the_cause() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let url = format!("stun:{}", silent.local_addr().unwrap());
    let (code, stdout, _) = run(&["gather", "--json", "--bind", "127.0.0.1", "--stun", &url]).await;
    assert_eq!(code, 0);
    let objects = objects(&stdout);
    let failed = objects.iter().position(|object| object["type"] == "failed").expect(&stdout);
    assert!(objects[failed]["reason"].as_str().unwrap().contains("check"), "{stdout}");
    assert!(url.contains(objects[failed]["server"].as_str().unwrap()), "{stdout}");
    assert_eq!(objects.last().unwrap()["type"], "complete");
    assert!(failed < objects.len() - 1);
}

#[tokio::test]
async fn a_failure_is_told_in_a_sentence_and_not_by_the_log() {
    for command in ["gather", "demo"] {
        let (code, _, stderr) = run(&[command, "--bind", "192.0.2.199"]).await;
        assert_eq!(code, 1);
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.starts_with("floe: cannot bind to "), "{stderr}");
    }
    let stun = ["gather", "--bind", "127.0.0.1", "--stun", "stun:no-such-name.invalid"];
    let (_, _, stderr) = run(&stun).await;
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains("cannot be resolved"), "{stderr}");
}

#[tokio::test]
async fn a_wrong_command_line_is_one_sentence_and_exit_code_2() {
    for arguments in [
        &["peer"][..],
        &["peer", "--controlling", "--controlled"],
        &["peer", "--controlling", "--bogus"],
        &["peer", "--controlling", "--stun", "http:example.org"],
        &["peer", "--controlling", "--stun", "stuns:example.org"],
        &["peer", "--controlling", "--tcp"],
        &["peer", "--controlling", "--policy", "relay"],
        &["peer", "--controlling", "--bind", "localhost"],
        &["peer", "--controlling", "--bind", "127.0.0.1", "--ipv6"],
        &["peer", "--controlling", "--seed", "xyz"],
        &["gather", "--ipv4", "--ipv6"],
        &["frobnicate"],
    ] {
        let (code, stdout, stderr) = run(arguments).await;
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.starts_with("floe: "), "{stderr}");
        assert!(stderr.contains("; ") || stderr.contains("see floe --help"), "{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}

#[tokio::test]
async fn what_cannot_be_done_is_one_sentence_and_exit_code_1() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for arguments in [
        &["gather", "--interface", "no-such-interface"][..],
        &["gather", "--bind", "0.0.0.0"],
        &["peer", "--controlled", "--interface", "no-such-interface"],
        &["peer", "--controlled", "--bind", &taken, "--ipv4"],
    ] {
        let (code, stdout, stderr) = run(arguments).await;
        if arguments.contains(&taken.as_str()) && code == 0 {
            continue;
        }
        assert_eq!((code, stdout.as_str()), (1, ""), "{arguments:?}");
        assert!(stderr.lines().last().unwrap().starts_with("floe: "), "{stderr}");
    }
}

#[tokio::test]
async fn help_and_version_are_no_errors() {
    let (code, stdout, _) = run(&["--version"]).await;
    assert_eq!((code, stdout.trim()), (0, concat!("floe ", env!("CARGO_PKG_VERSION"))));
    let (code, stdout, _) = run(&["--help"]).await;
    assert_eq!(code, 0);
    assert!(["demo", "gather", "peer"].iter().all(|command| stdout.contains(command)));
}

#[tokio::test]
async fn two_peers_connect_talk_restart_and_close() {
    let mut left = Peer::start(&["--controlling"]);
    let mut right = Peer::start(&["--controlled"]);
    let (selected, _) = relay(&mut left, &mut right, is("selected")).await;
    for end in ["local", "remote"] {
        let end = &selected[end];
        assert_eq!((&end["type"], &end["protocol"]), (&json!("host"), &json!("udp")));
        assert_eq!(end["address"], "127.0.0.1");
        assert!(end["port"].is_u64() && end["priority"].is_u64());
    }
    assert!(selected["rtt_ms"].is_number());
    for (from, to) in [(&mut left, &mut right)] {
        from.tell(r#"{"type":"send","text":"hello"}"#).await;
        assert_eq!(to.until(is("data")).await, json!({ "type": "data", "text": "hello" }));
        to.tell(r#"{"type":"send","text":"hello yourself"}"#).await;
        assert_eq!(from.until(is("data")).await["text"], "hello yourself");
    }
    left.tell(r#"{"type":"stats"}"#).await;
    let stats = left.until(is("stats")).await;
    assert!(stats["pairs"].as_array().unwrap().iter().any(|pair| pair["selected"] == true));

    right.tell(r#"{"type":"restart"}"#).await;
    relay(&mut left, &mut right, is("selected")).await;
    left.tell(r#"{"type":"send","text":"again"}"#).await;
    assert_eq!(right.until(is("data")).await["text"], "again");

    left.tell(r#"{"type":"close"}"#).await;
    assert_eq!(left.ends().await, 0);
    drop(right.stdin.shutdown().await);
    let Peer { mut child, stdin, mut lines } = right;
    drop(stdin);
    while timeout(LIMIT, lines.next_line()).await.unwrap().unwrap().is_some() {}
    assert!(timeout(LIMIT, child.wait()).await.unwrap().unwrap().success());
}

#[tokio::test]
async fn without_trickle_the_description_says_it_all() {
    let mut left = Peer::start(&["--controlling", "--no-trickle"]);
    let mut right = Peer::start(&["--controlled", "--no-trickle"]);
    let offer = left.until(is("offer")).await;
    let sdp = offer["sdp"].as_str().unwrap();
    assert!(sdp.contains("a=candidate:") && sdp.contains("a=end-of-candidates"), "{sdp}");
    right.tell(&offer.to_string()).await;
    let answer = right.until(is("answer")).await;
    left.tell(&answer.to_string()).await;
    left.until(is("selected")).await;
}

#[tokio::test]
async fn the_line_contract_is_kept_to_the_letter() {
    let mut peer = Peer::start(&["--controlling"]);
    let first = peer.next().await.unwrap();
    assert_eq!((&first["type"], &first["state"]), (&json!("state"), &json!("new")));
    assert!(first["ms"].is_number());
    let offer = peer.until(is("offer")).await;
    assert_eq!(offer.as_object().unwrap().len(), 2);
    let end = peer.until(|o| o["type"] == "candidate" && o["candidate"]["candidate"] == "").await;
    let candidate = end["candidate"].as_object().unwrap();
    assert_eq!((&candidate["sdpMid"], &candidate["sdpMLineIndex"]), (&json!("0"), &json!(0)));
    let sdp = offer["sdp"].as_str().unwrap();
    let ufrag = candidate["usernameFragment"].as_str().unwrap();
    assert!(sdp.contains(&format!("a=ice-ufrag:{ufrag}\r\n")), "{sdp}");
}

#[tokio::test]
async fn a_bad_line_gets_an_error_object_and_nothing_else_changes() {
    let mut peer = Peer::start(&["--controlled"]);
    let long = format!(r#"{{"type":"send","text":"{}"}}"#, "x".repeat(70_000));
    for (line, word) in [
        ("nonsense", "not JSON"),
        ("[]", "not an object"),
        (r#"{"type":"dance"}"#, "send offer, answer"),
        (r#"{"type":"offer"}"#, "sdp"),
        (r#"{"type":"offer","sdp":"nonsense"}"#, "SDP"),
        (r#"{"type":"answer","sdp":"v=0\r\n"}"#, "no answer is awaited"),
        (r#"{"type":"candidate","candidate":7}"#, "an object"),
        (r#"{"type":"send"}"#, "text"),
        (r#"{"type":"send","text":"early"}"#, "no pair"),
        (long.as_str(), "longer than 65536 octets; send less text"),
    ] {
        peer.tell(line).await;
        let error = peer.until(is("error")).await;
        let sentence = error["error"].as_str().unwrap();
        assert!(sentence.contains(word), "{line:.40}: {sentence}");
        assert_eq!(error.as_object().unwrap().len(), 2);
    }
    let mut other = Peer::start(&["--controlling"]);
    relay(&mut other, &mut peer, is("selected")).await;
    peer.tell(r#"{"type":"close"}"#).await;
    assert_eq!(peer.ends().await, 0);
}

#[tokio::test]
async fn the_log_of_a_peer_names_events_and_no_addresses() {
    let (code, _, log) = run(&["peer", "--controlling", "-v", "--bind", "127.0.0.1"]).await;
    assert_eq!(code, 0);
    assert!(log.contains("local candidate"), "{log}");
    assert!(!log.contains("127.0.0.1"), "{log}");
}

#[tokio::test]
async fn the_same_seed_gives_the_same_credentials() {
    let mut ufrags = Vec::new();
    for seed in ["2a", "2a", "2b"] {
        let mut peer = Peer::start(&["--controlling", "--seed", seed]);
        let offer = peer.until(is("offer")).await;
        let line = offer["sdp"].as_str().unwrap().lines().find(|l| l.starts_with("a=ice-ufrag:"));
        ufrags.push(line.unwrap().to_owned());
    }
    assert_eq!(ufrags[0], ufrags[1]);
    assert_ne!(ufrags[1], ufrags[2]);
}
