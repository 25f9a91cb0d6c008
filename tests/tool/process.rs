//! The tool as a process.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

pub(crate) const LIMIT: Duration = Duration::from_secs(70);

pub(crate) fn floe(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_floe"));
    command.args(arguments).kill_on_drop(true).env_remove("FLOE_TURN_PASSWORD");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs to the end and returns the exit code, stdout and stderr.
pub(crate) async fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = timeout(LIMIT, floe(arguments).output()).await.expect("takes too long").unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

pub(crate) fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// A `floe peer` or `floe connect` process.
pub(crate) struct Peer {
    pub(crate) child: Child,
    pub(crate) stdin: ChildStdin,
    pub(crate) lines: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::spawn("peer", arguments)
    }

    pub(crate) fn spawn(subcommand: &str, arguments: &[&str]) -> Self {
        let mut command = floe(&[subcommand, "--interface", "lo", "--ipv4"]);
        command.args(arguments).stdin(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, stdin, lines }
    }

    pub(crate) async fn tell(&mut self, line: &str) {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> Option<Value> {
        let line = timeout(LIMIT, self.lines.next_line()).await.expect("silent").unwrap()?;
        Some(serde_json::from_str(&line).expect(&line))
    }

    pub(crate) async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let object = self.next().await.expect("ended");
            if wanted(&object) {
                return object;
            }
        }
    }

    pub(crate) async fn ends(mut self) -> i32 {
        while self.next().await.is_some() {}
        timeout(LIMIT, self.child.wait()).await.expect("does not end").unwrap().code().unwrap()
    }
}

/// Carries signals both ways until both peers have said something that `wanted` accepts.
pub(crate) async fn relay(
    left: &mut Peer,
    right: &mut Peer,
    wanted: impl Fn(&Value) -> bool,
) -> (Value, Value) {
    let (mut said_left, mut said_right) = (None, None);
    while said_left.is_none() || said_right.is_none() {
        let (object, to, said) = tokio::select! {
            object = left.next() => (object, &mut *right, &mut said_left),
            object = right.next() => (object, &mut *left, &mut said_right),
        };
        let object = object.expect("ended");
        match object["type"].as_str().unwrap() {
            "offer" | "answer" | "candidate" => to.tell(&object.to_string()).await,
            "error" => panic!("{object}"),
            _ if wanted(&object) => *said = Some(object),
            _ => {}
        }
    }
    (said_left.unwrap(), said_right.unwrap())
}

pub(crate) fn is(kind: &'static str) -> impl Fn(&Value) -> bool {
    move |object| object["type"] == kind
}
