//! Processes that say and are told lines.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A process that says a JSON object a line, what it said, and when. Ends when dropped.
pub struct Talker {
    name: &'static str,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<(Instant, Value)>,
    /// What it said, as far as somebody has listened.
    pub said: Vec<(Instant, Value)>,
    /// How long it may take to end once nothing more is said to it, before it is ended.
    pub farewell: Duration,
}

impl Talker {
    /// Starts `command` on the host of this thread.
    ///
    /// # Panics
    ///
    /// If there is no such program.
    pub fn start(name: &'static str, mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let stdin = child.stdin.take();
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
        Self { name, child, stdin, lines, said: Vec::new(), farewell: Duration::ZERO }
    }

    /// Tells it a line.
    ///
    /// # Errors
    ///
    /// A sentence, if it does not listen any more.
    pub fn tell(&mut self, line: &str) -> Result<(), String> {
        let Some(stdin) = &mut self.stdin else { return Ok(()) };
        writeln!(stdin, "{line}").map_err(|error| format!("{}: {error}", self.name))
    }

    /// Waits until it says what `wanted` accepts.
    ///
    /// # Errors
    ///
    /// A sentence, if it does not say so in time, with what it said last.
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

    /// Whether it runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it said first that `wanted` accepts.
    pub fn first(&self, wanted: impl Fn(&Value) -> bool) -> Option<&Value> {
        self.said.iter().map(|(_, said)| said).find(|said| wanted(said))
    }

    /// Ends it at once.
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
        drop(self.stdin.take());
        let end = Instant::now() + self.farewell;
        while Instant::now() < end {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            thread::park_timeout(Duration::from_millis(5));
        }
        self.kill();
    }
}
