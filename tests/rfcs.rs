//! The clause ledger: which clause of which RFC is done where, and proven where.
//!
//! `tests/rfcs/*.tsv` has one row per normative clause, `tests/rfcs/scope.toml` says what is out of
//! scope, waits or is deliberately different, and clause ids in brackets in the source say the rest.
//! `RFCS.md` is made from all of them: `FLOE_BLESS=1 cargo test --test rfcs` writes it.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot read its data has failed"
)]

#[path = "rfcs/ledger.rs"]
mod ledger;
#[path = "rfcs/report.rs"]
mod report;
#[path = "rfcs/scope.rs"]
mod scope;
#[path = "rfcs/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use ledger::{Clause, Level};
use scope::{Kind, Scope};
use source::Citations;

/// What the three sources say together of one clause.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Cited in the source and in a test.
    Proven,
    /// Cited in the source alone.
    Done,
    /// Deliberately done otherwise.
    Different,
    /// Waits for what it says.
    Open(String),
    /// A MAY that was not taken.
    Optional,
    /// Out of scope, and why.
    Out(String),
}

/// Everything that the tests look at.
struct Book {
    clauses: Vec<Clause>,
    scope: Scope,
    citations: Citations,
}

impl Book {
    fn read() -> Self {
        Self { clauses: ledger::read(), scope: Scope::read(), citations: Citations::read() }
    }

    fn state(&self, clause: &Clause) -> State {
        let code = !self.citations.code(&clause.id).is_empty();
        let test = !self.citations.tests(&clause.id).is_empty();
        let rule = self.scope.rule(clause);
        match rule.as_ref().map(|rule| rule.kind) {
            Some(Kind::Different) => return State::Different,
            // Named by its id, it is open although a part of it is done.
            Some(Kind::Open) if rule.as_ref().is_some_and(|rule| rule.by_id) => {}
            Some(Kind::Open | Kind::Out) | None => match (code, test) {
                (true, true) => return State::Proven,
                (true, false) => return State::Done,
                (false, true) | (false, false) => {}
            },
        }
        match rule {
            Some(rule) if rule.kind == Kind::Out => State::Out(rule.reason),
            Some(rule) => State::Open(rule.reason),
            None if clause.level == Level::May => State::Optional,
            None => State::Open(String::from("not yet done")),
        }
    }

    fn enforced(&self) -> impl Iterator<Item = &Clause> {
        self.clauses.iter().filter(|clause| self.scope.enforced.contains(&clause.rfc))
    }

    fn open(&self) -> usize {
        self.clauses.iter().filter(|c| matches!(self.state(c), State::Open(_))).count()
    }
}

fn assert_none(findings: &[String], what: &str, way_out: &str) {
    assert!(
        findings.is_empty(),
        "\n{} {what}:\n\n  {}\n\nWhat to do: {way_out}\n",
        findings.len(),
        findings.join("\n  ")
    );
}

#[test]
fn every_cited_clause_is_in_the_ledger() {
    let book = Book::read();
    let known: BTreeSet<_> = book.clauses.iter().map(|clause| clause.id.as_str()).collect();
    let findings: Vec<_> = (book.citations.all.iter())
        .filter(|citation| !known.contains(citation.id.as_str()))
        .map(|c| format!("{}:{}: [{}]", c.path, c.line, c.id))
        .collect();
    assert_none(
        &findings,
        "citations of clauses that do not exist",
        "find the right id in tests/rfcs/rfcNNNN.tsv, or name the RFC in prose (RFC 8445 section 7).",
    );
}

#[test]
fn every_must_in_scope_is_done_and_proven() {
    let book = Book::read();
    let mut findings = Vec::new();
    for clause in book.enforced().filter(|clause| clause.level == Level::Must) {
        let missing = match book.state(clause) {
            State::Done => "has no test",
            State::Open(_) if book.scope.rule(clause).is_some() => continue,
            State::Open(_) if !book.citations.tests(&clause.id).is_empty() => "has no code",
            State::Open(_) => "has neither code nor test",
            State::Proven | State::Different | State::Optional | State::Out(_) => continue,
        };
        findings.push(format!("{} {missing}: {} {}", clause.id, clause.word, clause.requirement));
    }
    assert_none(
        &findings,
        "clauses of MUST level in scope are not done and proven",
        "cite the id in brackets where src/ does it and in the doc comment of the test that proves it; \
         or say in tests/rfcs/scope.toml why it is out, waits or differs.",
    );
}

#[test]
fn every_should_in_scope_is_done_or_has_a_reason() {
    let book = Book::read();
    let findings: Vec<_> = (book.enforced())
        .filter(|clause| clause.level == Level::Should && book.scope.rule(clause).is_none())
        .filter(|clause| book.citations.code(&clause.id).is_empty())
        .map(|clause| format!("{}: {} {}", clause.id, clause.word, clause.requirement))
        .collect();
    assert_none(
        &findings,
        "clauses of SHOULD level in scope have neither code nor a reason",
        "cite the id in brackets where src/ does it, or give the reason in tests/rfcs/scope.toml.",
    );
}

#[test]
fn the_number_of_open_rows_does_not_grow() {
    let book = Book::read();
    let (open, most) = (book.open(), book.scope.max_open);
    println!("{open} open rows, at most {most} allowed");
    assert!(
        open <= most,
        "\n{open} rows are open, {most} were when tests/rfcs/scope.toml was last set.\n\
         What to do: see which citations were lost (git diff RFCS.md after FLOE_BLESS=1 cargo test \
         --test rfcs); raise max_open only if rows were added to the ledger.\n"
    );
}

#[test]
fn the_table_is_fresh() {
    let made = report::write(&Book::read());
    let path = source::root().join("RFCS.md");
    if std::env::var_os("FLOE_BLESS").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let line = 1 + made.lines().zip(kept.lines()).take_while(|(a, b)| a == b).count();
    assert!(
        made == kept,
        "\nRFCS.md is stale from line {line} on.\n\
         What to do: FLOE_BLESS=1 cargo test --test rfcs, look at the difference, commit it.\n"
    );
}

#[test]
fn the_ledger_names_each_clause_once() {
    let mut seen = BTreeMap::new();
    let mut findings = Vec::new();
    for clause in ledger::read() {
        let prefix = clause.rfc.parse::<u16>().map_or(clause.rfc.clone(), |n| format!("rfc{n}"));
        if !clause.id.starts_with(&format!("{prefix}-{}-", clause.section)) {
            findings.push(format!("{}: the id does not fit RFC and section", clause.id));
        }
        if let Some(first) = seen.insert(clause.id.clone(), clause.requirement) {
            findings.push(format!("{}: twice, first as \"{first}\"", clause.id));
        }
    }
    assert_none(&findings, "ids in tests/rfcs/*.tsv are wrong", "give each row its own id.");
}

#[test]
fn every_rule_of_the_scope_says_why_and_selects_something() {
    let book = Book::read();
    let findings = book.scope.faults(&book.clauses);
    assert_none(
        &findings,
        "rules of tests/rfcs/scope.toml are wrong",
        "the head of that file says how a rule is written.",
    );
}
