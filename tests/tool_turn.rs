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

use process::run;

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
async fn a_name_that_cannot_be_resolved_is_named() {
    let turn = ["gather", "--json", "--bind", "127.0.0.1", "--turn", "turn:no-such-name.invalid"];
    let login = ["--username", "alice", "--password", "secret"];
    let (code, _, stderr) = run(&[&turn[..], &login].concat()).await;
    assert_eq!(code, 1);
    let [unresolved, failure] = stderr.lines().collect::<Vec<_>>()[..] else { panic!("{stderr}") };
    assert!(unresolved.contains("no-such-name.invalid"), "{stderr}");
    assert!(unresolved.contains("cannot be resolved; check the name"), "{stderr}");
    assert!(failure.starts_with("floe: no relayed candidate: "), "{stderr}");
}
