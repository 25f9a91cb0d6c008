//! A session of two agents: what one says of itself is told the other.

use std::thread;
use std::time::{Duration, Instant};

use lab::Talker;
use serde_json::{Value, json};

/// How long anything may take; some gather for seconds.
const SOON: Duration = Duration::from_secs(30);
/// How often a look is taken at what was said.
const LOOK: Duration = Duration::from_millis(1);

/// One of the two, as a process.
struct End {
    talker: Talker,
    /// Lines that were passed on, or were not to be.
    seen: usize,
    is_lite: bool,
    /// Whether all its candidates are known.
    gathered: bool,
    /// Lines for the other that wait until then.
    held: Vec<Value>,
    /// Whether it has the credentials of the other.
    is_ready: bool,
    /// Pairs that it selected since then.
    connected: Vec<(Instant, Value)>,
    heard: Vec<String>,
}

/// Two agents, the controlling one first.
pub struct Session {
    ends: [End; 2],
    /// Candidates go with the credentials instead of by themselves.
    vanilla: bool,
    /// The one that restarts, until it has said its new credentials.
    restarting: Option<usize>,
    /// When the first credentials of both had been told to the other, and how many have.
    began: Option<Instant>,
    told: u8,
}

impl Session {
    /// Begins with `controlling` and `controlled`, of which those may be lite.
    pub fn new(talkers: [Talker; 2], lite: [bool; 2], vanilla: bool) -> Self {
        let mut lite = lite.into_iter();
        let ends = talkers.map(|talker| End {
            talker,
            seen: 0,
            is_lite: lite.next().unwrap_or(false),
            gathered: false,
            held: Vec::new(),
            is_ready: false,
            connected: Vec::new(),
            heard: Vec::new(),
        });
        Self { ends, vanilla, restarting: None, began: None, told: 0 }
    }

    /// Waits until both have selected a pair; returns how long it took from the credentials on.
    pub fn connect(&mut self) -> Result<Duration, String> {
        self.until("both are connected", |ends| ends.iter().all(|end| !end.connected.is_empty()))?;
        let began = self.began.ok_or("nobody has said credentials")?;
        let times = self.ends.iter().filter_map(|end| end.connected.first()).map(|(at, _)| *at);
        Ok(times.max().unwrap_or(began).saturating_duration_since(began))
    }

    /// The types of the pair that one has selected last.
    pub fn pair(&self, who: usize) -> String {
        let Some((_, pair)) = self.ends[who].connected.last() else { return "?".into() };
        let kind = |side: &str| pair[side].as_str().unwrap_or("?").to_owned();
        format!("{} – {}", kind("local"), kind("remote"))
    }

    /// One of the two restarts, and both go on with another pair.
    pub fn restart(&mut self, who: usize) -> Result<(), String> {
        for who in [0, 1] {
            self.pass_on(who)?;
            let end = &mut self.ends[who];
            (end.gathered, end.is_ready) = (false, false);
            end.connected.clear();
        }
        self.restarting = Some(who);
        self.tell(who, &json!({ "restart": true }))?;
        self.until("both are connected after a restart", |ends| {
            ends.iter().all(|end| !end.connected.is_empty())
        })
    }

    /// Says something in both directions.
    pub fn talk(&mut self, text: &str) -> Result<(), String> {
        for who in [0, 1] {
            self.tell(who, &json!({ "say": format!("{text} from {who}") }))?;
        }
        self.until(&format!("both have heard \"{text}\""), |ends| {
            let heard = |end: &End, text: String| end.heard.contains(&text);
            heard(&ends[0], format!("{text} from 1")) && heard(&ends[1], format!("{text} from 0"))
        })
    }

    /// Whether all candidates that one has said have what `wanted` says.
    pub fn has_only(&self, who: usize, wanted: impl Fn(&str) -> bool) -> bool {
        let lines = self.ends[who].talker.said.iter();
        let candidates = lines.filter_map(|(_, said)| said["candidate"].as_str());
        candidates.filter(|line| !line.is_empty()).all(wanted)
    }

    /// All that both have said so far, and when.
    pub fn lines(&self) -> String {
        let ends = self.ends.iter().zip(["controlling", "controlled"]);
        let mut lines: Vec<_> = ends
            .flat_map(|(end, name)| end.talker.said.iter().map(move |(at, said)| (*at, name, said)))
            .collect();
        lines.sort_by_key(|(at, ..)| *at);
        let began = self.began.or(lines.first().map(|(at, ..)| *at));
        let ms = |at: Instant| {
            let began = began.unwrap_or(at);
            let (after, before) = (at - began, began - at);
            after.as_secs_f64() * 1e3 - before.as_secs_f64() * 1e3
        };
        lines
            .iter()
            .map(|(at, name, said)| format!("  {:7.1} {name:11} {said}\n", ms(*at)))
            .collect()
    }

    /// The version that one has named.
    pub fn version(&self, who: usize) -> String {
        let mut lines = self.ends[who].talker.said.iter();
        let version = lines.find_map(|(_, said)| said["version"].as_str());
        version.unwrap_or("?").to_owned()
    }

    fn tell(&mut self, who: usize, line: &Value) -> Result<(), String> {
        self.ends[who].talker.tell(&line.to_string())
    }

    /// Passes on what is said until something is the case.
    fn until(&mut self, what: &str, is_so: impl Fn(&[End; 2]) -> bool) -> Result<(), String> {
        let end = Instant::now() + SOON;
        loop {
            for who in [0, 1] {
                self.pass_on(who)?;
            }
            if is_so(&self.ends) {
                return Ok(());
            }
            let over = self.ends.iter_mut().any(|end| !end.talker.is_alive());
            if over || Instant::now() >= end {
                let why = if over { "one has ended" } else { "30 s have passed" };
                let [first, second] = &self.ends;
                let (first, second) = (first.talker.last(), second.talker.last());
                return Err(format!("{why} before {what}\n{first}    --\n{second}"));
            }
            thread::park_timeout(LOOK);
        }
    }

    /// Passes on what one has said.
    fn pass_on(&mut self, who: usize) -> Result<(), String> {
        self.ends[who].talker.hear();
        while let Some((at, said)) = self.ends[who].talker.said.get(self.ends[who].seen).cloned() {
            let end = &mut self.ends[who];
            end.seen += 1;
            if let Some(text) = said["heard"].as_str() {
                end.heard.push(text.to_owned());
            } else if said["connected"].is_object() {
                // Of the generation before it is of no interest.
                if !end.is_ready {
                    continue;
                }
                end.connected.push((at, said["connected"].clone()));
            } else if said["ufrag"].is_string() {
                let mut credentials = json!({
                    "ufrag": said["ufrag"], "pwd": said["pwd"], "lite": end.is_lite,
                });
                if self.restarting.take_if(|restarting| *restarting == who).is_some() {
                    credentials["restart"] = true.into();
                }
                self.hand(who, credentials)?;
            } else if let Some(line) = said["candidate"].as_str() {
                end.gathered |= line.is_empty();
                self.hand(who, json!({ "candidate": line }))?;
            }
        }
        Ok(())
    }

    /// Hands a line to the other, together with the others if so they go.
    fn hand(&mut self, from: usize, line: Value) -> Result<(), String> {
        let (to, vanilla) = (1 - from, self.vanilla);
        self.ends[from].held.push(line);
        if vanilla && !self.ends[from].gathered {
            return Ok(());
        }
        for line in std::mem::take(&mut self.ends[from].held) {
            if line["ufrag"].is_string() && self.told < 2 {
                self.told += 1;
                self.began = Some(Instant::now());
            }
            self.ends[to].is_ready |= line["ufrag"].is_string();
            self.tell(to, &line)?;
        }
        Ok(())
    }
}
