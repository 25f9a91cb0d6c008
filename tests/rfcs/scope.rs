//! Reads `tests/rfcs/scope.toml`: as much of TOML as that file needs.

use std::collections::BTreeMap;
use std::fs;

use crate::ledger::{Clause, RFCS};
use crate::source;

/// What a rule says of the rows that it selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Out,
    Open,
    Different,
}

/// The rule that counts for a clause.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) kind: Kind,
    /// Why; for an open row, what it waits for.
    pub(crate) reason: String,
    /// How the letter is had, for a different row.
    pub(crate) switch: String,
    /// The rule names the clause, not a group that it is in.
    pub(crate) by_id: bool,
}

/// One table of the file.
#[derive(Debug)]
struct Rule {
    kind: Kind,
    line: usize,
    /// Whole ids, or beginnings of ids with a `*` at the end.
    ids: Vec<String>,
    who: Vec<String>,
    area: Vec<String>,
    applies: Vec<String>,
    reason: String,
    switch: String,
}

/// The file.
#[derive(Debug)]
pub(crate) struct Scope {
    pub(crate) max_open: usize,
    pub(crate) enforced: Vec<String>,
    rules: Vec<Rule>,
    faults: Vec<String>,
}

/// How closely a rule fits; the closest counts, of equals the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Area,
    Glob,
    Applies,
    Who,
    Id,
}

impl Rule {
    fn fit(&self, clause: &Clause) -> Option<Fit> {
        let glob =
            |id: &String| id.strip_suffix('*').is_some_and(|head| clause.id.starts_with(head));
        let fits = [
            (self.ids.contains(&clause.id), Fit::Id),
            (self.who.contains(&clause.who), Fit::Who),
            (self.applies.contains(&clause.applies), Fit::Applies),
            (self.ids.iter().any(glob), Fit::Glob),
            (self.area.contains(&clause.area), Fit::Area),
        ];
        fits.into_iter().find(|(fits, _)| *fits).map(|(_, fit)| fit)
    }
}

impl Scope {
    pub(crate) fn read() -> Self {
        let path = source::root().join("tests/rfcs/scope.toml");
        Self::parse(&fs::read_to_string(path).unwrap())
    }

    /// The rule that counts for `clause`, if any.
    pub(crate) fn rule(&self, clause: &Clause) -> Option<Verdict> {
        let fits = self.rules.iter().filter_map(|rule| Some((rule.fit(clause)?, rule)));
        // `max_by_key` takes the last of equals, and the first shall count.
        fits.rev().max_by_key(|(fit, _)| *fit).map(|(fit, rule)| Verdict {
            kind: rule.kind,
            reason: rule.reason.clone(),
            switch: rule.switch.clone(),
            by_id: fit == Fit::Id,
        })
    }

    /// What is wrong with the file, each with its line.
    pub(crate) fn faults(&self, clauses: &[Clause]) -> Vec<String> {
        let mut faults = self.faults.clone();
        let mut named = BTreeMap::new();
        for rfc in self.enforced.iter().filter(|rfc| RFCS.iter().all(|(known, _)| known != rfc)) {
            faults.push(format!("enforced: no ledger for RFC {rfc}"));
        }
        for rule in &self.rules {
            let line = rule.line;
            if rule.reason.is_empty() {
                faults.push(format!("line {line}: no reason"));
            }
            if (rule.kind == Kind::Different) == rule.switch.is_empty() {
                faults.push(format!(
                    "line {line}: `switch` belongs to [[different]], and only there"
                ));
            }
            for id in &rule.ids {
                let head = id.strip_suffix('*');
                if !clauses.iter().any(|c| head.map_or(c.id == *id, |head| c.id.starts_with(head)))
                {
                    faults.push(format!("line {line}: {id} selects nothing"));
                }
                if let Some(first) = named.insert(id, line) {
                    faults.push(format!("line {line}: {id} stands in line {first} already"));
                }
            }
        }
        faults
    }

    fn parse(text: &str) -> Self {
        let mut scope = Self { max_open: 0, enforced: vec![], rules: vec![], faults: vec![] };
        let mut lines = text.lines().enumerate();
        while let Some((index, line)) = lines.next() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(kind) = kind(line) {
                scope.rules.push(Rule {
                    kind,
                    line: index + 1,
                    ids: vec![],
                    who: vec![],
                    area: vec![],
                    applies: vec![],
                    reason: String::new(),
                    switch: String::new(),
                });
                continue;
            }
            // A value in brackets goes on until its line ends with the closing one.
            let mut entry = String::from(line);
            while entry.contains("= [") && !entry.ends_with(']') {
                let Some((_, more)) = lines.next() else { break };
                if !more.trim().starts_with('#') {
                    entry.push_str(more.trim());
                }
            }
            if scope.set(&entry).is_none() {
                scope.faults.push(format!("line {}: not understood: {line}", index + 1));
            }
        }
        scope
    }

    fn set(&mut self, entry: &str) -> Option<()> {
        let (key, value) = entry.split_once('=')?;
        let (key, value) = (key.trim(), value.trim());
        match (key, self.rules.last_mut()) {
            ("max_open", None) => self.max_open = value.parse().ok()?,
            ("enforced", None) => self.enforced = strings(value)?,
            ("ids", Some(rule)) => rule.ids = strings(value)?,
            ("who", Some(rule)) => rule.who = strings(value)?,
            ("area", Some(rule)) => rule.area = strings(value)?,
            ("applies", Some(rule)) => rule.applies = strings(value)?,
            ("reason", Some(rule)) if rule.kind != Kind::Open => rule.reason = string(value)?,
            ("waits_for", Some(rule)) if rule.kind == Kind::Open => rule.reason = string(value)?,
            ("switch", Some(rule)) => rule.switch = string(value)?,
            (_, _) => return None,
        }
        Some(())
    }
}

fn kind(line: &str) -> Option<Kind> {
    match line {
        "[[out]]" => Some(Kind::Out),
        "[[open]]" => Some(Kind::Open),
        "[[different]]" => Some(Kind::Different),
        _ => None,
    }
}

fn string(value: &str) -> Option<String> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    (!inner.contains(['"', '\\'])).then(|| String::from(inner))
}

fn strings(value: &str) -> Option<Vec<String>> {
    let inner = value.strip_prefix('[')?.strip_suffix(']')?.trim();
    let inner = inner.strip_suffix(',').unwrap_or(inner);
    if inner.is_empty() {
        return Some(Vec::new());
    }
    inner.split(',').map(|part| string(part.trim())).collect()
}
