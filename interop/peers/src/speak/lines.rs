//! The lines: what is said on stdout, what is told on stdin.

use std::fmt::Display;
use std::io::{BufRead, Write, stdin, stdout};

use serde_json::{Value, json};

/// The other's credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub ufrag: String,
    pub password: String,
    /// Whether the other is lite.
    pub lite: bool,
    /// Whether the other has restarted, and wants the same of us.
    pub restart: bool,
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Credentials(Credentials),
    /// A candidate line of the other's.
    Candidate(String),
    /// The other has no more candidates.
    EndOfCandidates,
    /// Send this.
    Say(String),
    /// Restart ICE.
    Restart,
}

impl Told {
    fn parse(line: &str) -> Result<Self, String> {
        let value: Value =
            serde_json::from_str(line).map_err(|error| format!("no JSON: {error}"))?;
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let is = |key: &str| value.get(key).and_then(Value::as_bool).unwrap_or(false);
        if let (Some(ufrag), Some(password)) = (text("ufrag"), text("pwd")) {
            let (lite, restart) = (is("lite"), is("restart"));
            return Ok(Self::Credentials(Credentials { ufrag, password, lite, restart }));
        }
        match text("candidate") {
            Some(line) if line.is_empty() => return Ok(Self::EndOfCandidates),
            Some(line) => return Ok(Self::Candidate(line)),
            None => {}
        }
        if let Some(text) = text("say") {
            return Ok(Self::Say(text));
        }
        if is("restart") { Ok(Self::Restart) } else { Err(format!("no order: {line}")) }
    }
}

/// Hands each order to `take`, from a thread of its own, and `None` when stdin has ended. A line
/// that is none is said to be an error.
pub fn listen(mut take: impl FnMut(Option<Told>) + Send + 'static) {
    std::thread::spawn(move || {
        for line in stdin().lock().lines().map_while(Result::ok) {
            match Told::parse(&line) {
                Ok(told) => take(Some(told)),
                Err(sentence) => say_error(sentence),
            }
        }
        take(None);
    });
}

fn say(line: &Value) {
    let mut out = stdout().lock();
    // Nobody is left to tell where stdout is closed; the end of stdin ends the program.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

pub fn say_version(version: &str) {
    say(&json!({ "version": version }));
}

pub fn say_credentials(ufrag: &str, password: &str) {
    say(&json!({ "ufrag": ufrag, "pwd": password }));
}

/// Says a candidate line, which begins with `candidate:`.
pub fn say_candidate(line: &str) {
    say(&json!({ "candidate": line }));
}

pub fn say_end_of_candidates() {
    say_candidate("");
}

/// Says which pair was selected, by the types of its candidates as candidate lines have them.
pub fn say_connected(local: impl Display, remote: impl Display) {
    say(&json!({ "connected": { "local": local.to_string(), "remote": remote.to_string() } }));
}

pub fn say_heard(data: &[u8]) {
    say(&json!({ "heard": String::from_utf8_lossy(data) }));
}

pub fn say_disconnected() {
    say(&json!({ "state": "disconnected" }));
}

pub fn say_failed() {
    say(&json!({ "state": "failed" }));
}

pub fn say_error(sentence: impl Display) {
    say(&json!({ "error": sentence.to_string() }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_order_is_understood() {
        let credentials = |lite, restart| {
            let (ufrag, password) = ("u".into(), "p".into());
            Ok(Told::Credentials(Credentials { ufrag, password, lite, restart }))
        };
        let parse = Told::parse;
        assert_eq!(parse(r#"{"ufrag":"u","pwd":"p","lite":true}"#), credentials(true, false));
        assert_eq!(parse(r#"{"ufrag":"u","pwd":"p","restart":true}"#), credentials(false, true));
        assert_eq!(
            parse(r#"{"candidate":"candidate:1"}"#),
            Ok(Told::Candidate("candidate:1".into()))
        );
        assert_eq!(parse(r#"{"candidate":""}"#), Ok(Told::EndOfCandidates));
        assert_eq!(parse(r#"{"say":"text"}"#), Ok(Told::Say("text".into())));
        assert_eq!(parse(r#"{"restart":true}"#), Ok(Told::Restart));
        assert!(parse("{}").is_err() && parse("text").is_err());
    }
}
