//! Processes that say JSON lines.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A process, what it said, and when.
pub struct Talker {
    name: &'static str,
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<(Instant, Value)>,
    /// What was said and nobody waited for, for the error.
    pub said: Vec<(Instant, Value)>,
}

impl Talker {
    /// Starts `command` on the host of this thread.
    pub fn start(name: &'static str, mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let stdin = child.stdin.take().expect("a pipe");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let said = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send((Instant::now(), said)).is_err() {
                    return;
                }
            }
        });
        Self { name, child, stdin, lines, said: Vec::new() }
    }

    pub fn tell(&mut self, line: &str) -> Result<(), String> {
        writeln!(self.stdin, "{line}").map_err(|error| format!("{}: {error}", self.name))
    }

    /// Waits until it says what `wanted` accepts.
    pub fn until(
        &mut self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<(Instant, Value), String> {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok((at, said)) => {
                    self.said.push((at, said.clone()));
                    if wanted(&said) {
                        return Ok((at, said));
                    }
                }
                Err(why) => {
                    let how = match why {
                        RecvTimeoutError::Timeout => format!("within {} s", limit.as_secs()),
                        RecvTimeoutError::Disconnected => "before its end".into(),
                    };
                    return Err(format!("{} did not say {what} {how}\n{}", self.name, self.last()));
                }
            }
        }
    }

    /// Takes note of what it has said so far.
    pub fn hear(&mut self) {
        self.said.extend(self.lines.try_iter());
    }

    /// When it first said something that `wanted` accepts.
    pub fn first(&self, wanted: impl Fn(&Value) -> bool) -> Option<Instant> {
        self.said.iter().find(|(_, said)| wanted(said)).map(|(at, _)| *at)
    }

    /// Ends it without a farewell.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// What it said last, a line each.
    pub fn last(&self) -> String {
        let last = self.said.iter().rev().take(12).rev();
        last.map(|(_, said)| format!("    {said:.300}\n")).collect()
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        // A browser has processes of its own to end; the others are ended.
        let limit = if self.name == "browser" { Duration::from_secs(8) } else { Duration::ZERO };
        let _ = self.tell("quit");
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            thread::park_timeout(Duration::from_millis(50));
        }
        self.kill();
    }
}
