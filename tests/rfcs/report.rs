//! Writes `RFCS.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::ledger::{Clause, Level, RFCS};
use crate::scope::Kind;
use crate::{Book, State};

const HEAD: &str = "\
# The RFCs, clause by clause

<!-- Made by `FLOE_BLESS=1 cargo test --test rfcs`; not edited by hand. -->

Each normative clause of the RFCs that floe follows has a row here. The requirement is in our words; the id names
section and sentence ([tests/rfcs/README.md](tests/rfcs/README.md)). The ids stand in brackets in the source and in
the tests: search for one to see how it is done.

| state | meaning |
|---|---|
| **proven** | done, and a test shows it |
| done | done; no test names the clause |
| different | deliberately done otherwise, see [Deviations](#deviations) |
| open | not done; the note says what it waits for |
| not taken | a MAY that floe makes no use of |
| out | no duty of floe, see [Out of scope](#out-of-scope) |

## Summary

";

/// The whole file.
pub(crate) fn write(book: &Book) -> String {
    let mut text = String::from(HEAD);
    summary(book, &mut text);
    deviations(book, &mut text);
    reasons(book, &mut text, Kind::Open);
    reasons(book, &mut text, Kind::Out);
    for (rfc, title) in RFCS {
        table(book, rfc, title, &mut text);
    }
    text
}

fn heading(rfc: &str, title: &str) -> String {
    rfc.parse::<u16>().map_or(format!("{title}: {rfc}"), |n| format!("RFC {n}: {title}"))
}

/// The anchor that the usual renderers give a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

fn summary(book: &Book, text: &mut String) {
    text.push_str(
        "| RFC | rows | proven | done | different | open | not taken | out | MUST proven | MUST due | MUST that waits | enforced |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|\n",
    );
    let mut sum = [0; 10];
    for (rfc, title) in RFCS {
        let counts = counts(book, rfc);
        for (sum, count) in sum.iter_mut().zip(counts) {
            *sum += count;
        }
        let heading = heading(rfc, title);
        let enforced = if book.scope.enforced.iter().any(|e| e == rfc) { "yes" } else { "" };
        let name = format!("[{heading}](#{})", anchor(&heading));
        line(text, &name, &counts, enforced);
    }
    line(text, "all", &sum, "");
    text.push_str(
        "\nA MUST is \"due\" that is neither proven nor given a reason, and \"waits\" where \
         tests/rfcs/scope.toml names what it waits for: see [Open](#open). \"Enforced\": `cargo test --test \
         rfcs` fails if a MUST of that RFC is due, or a SHOULD is neither done nor given a reason.\n\n",
    );
}

fn line(text: &mut String, name: &str, counts: &[usize], enforced: &str) {
    let counts: Vec<_> = counts.iter().map(usize::to_string).collect();
    writeln!(text, "| {name} | {} | {enforced} |", counts.join(" | ")).unwrap();
}

/// Rows, then each state, then the rows of MUST level: proven, due, and those that `scope.toml` lets
/// wait.
fn counts(book: &Book, rfc: &str) -> [usize; 10] {
    let mut counts = [0; 10];
    for clause in book.clauses.iter().filter(|clause| clause.rfc == rfc) {
        let state = book.state(clause);
        let column = match state {
            State::Proven => 1,
            State::Done => 2,
            State::Different => 3,
            State::Open(_) => 4,
            State::Optional => 5,
            State::Out(_) => 6,
        };
        counts[0] += 1;
        counts[column] += 1;
        if clause.level != Level::Must {
            continue;
        }
        match state {
            State::Proven => counts[7] += 1,
            State::Open(_) if book.scope.rule(clause).is_some() => counts[9] += 1,
            State::Done | State::Open(_) => counts[8] += 1,
            State::Different | State::Optional | State::Out(_) => {}
        }
    }
    counts
}

fn deviations(book: &Book, text: &mut String) {
    text.push_str("## Deviations\n\nWhere floe leaves the letter of a clause, why, and how to have the letter.\n\n");
    text.push_str("| clauses | what they ask | what floe does, and why | how to have the letter |\n|---|---|---|---|\n");
    let mut rules: Vec<((String, String), Vec<&Clause>)> = Vec::new();
    for clause in &book.clauses {
        let Some(rule) = book.scope.rule(clause).filter(|rule| rule.kind == Kind::Different) else {
            continue;
        };
        let key = (rule.reason, rule.switch);
        match rules.iter_mut().find(|(known, _)| *known == key) {
            Some((_, clauses)) => clauses.push(clause),
            None => rules.push((key, vec![clause])),
        }
    }
    for ((reason, switch), clauses) in rules {
        let ids: Vec<_> = clauses.iter().map(|clause| format!("`{}`", clause.id)).collect();
        let asks: Vec<_> =
            clauses.iter().map(|c| format!("{} {}", c.word, cell(&c.requirement))).collect();
        writeln!(
            text,
            "| {} | {} | {} | {} |",
            ids.join(" "),
            asks.join("; "),
            cell(&reason),
            cell(&switch)
        )
        .unwrap();
    }
    text.push('\n');
}

/// How many rows are open or out for each reason, and of which RFCs.
fn reasons(book: &Book, text: &mut String, kind: Kind) {
    let mut reasons: BTreeMap<String, (usize, Vec<&str>)> = BTreeMap::new();
    for clause in &book.clauses {
        let reason = match (book.state(clause), kind) {
            (State::Open(reason), Kind::Open) | (State::Out(reason), Kind::Out) => Some(reason),
            (_, _) => None,
        };
        let Some(reason) = reason else { continue };
        let (count, rfcs) = reasons.entry(reason).or_default();
        *count += 1;
        if !rfcs.contains(&clause.rfc.as_str()) {
            rfcs.push(&clause.rfc);
        }
    }
    text.push_str(match kind {
        Kind::Open => "## Open\n\n| waits for | rows | of RFC |\n|---|---:|---|\n",
        Kind::Out | Kind::Different => {
            "## Out of scope\n\n| reason | rows | of RFC |\n|---|---:|---|\n"
        }
    });
    for (reason, (count, rfcs)) in reasons {
        writeln!(text, "| {} | {count} | {} |", cell(&reason), rfcs.join(", ")).unwrap();
    }
    text.push('\n');
}

fn table(book: &Book, rfc: &str, title: &str, text: &mut String) {
    write!(text, "## {}\n\n", heading(rfc, title)).unwrap();
    text.push_str(
        "| id | level | requirement | state | where | test |\n|---|---|---|---|---|---|\n",
    );
    for clause in book.clauses.iter().filter(|clause| clause.rfc == rfc) {
        let state = match book.state(clause) {
            State::Proven => String::from("**proven**"),
            State::Done => String::from("done"),
            State::Different => String::from("different"),
            State::Open(reason) => format!("open: {}", cell(&reason)),
            State::Optional => String::from("not taken"),
            State::Out(_) => String::from("out"),
        };
        let files = |paths: std::collections::BTreeSet<&str>| {
            let names: Vec<_> = paths.into_iter().map(|path| format!("`{path}`")).collect();
            names.join(" ")
        };
        let (code, tests) = (book.citations.code(&clause.id), book.citations.tests(&clause.id));
        let (id, level, what) = (&clause.id, clause.word.as_str(), cell(&clause.requirement));
        let level = if level == "PROSE" { "(prose)" } else { level };
        writeln!(
            text,
            "| {id} | {level} | {what} | {state} | {} | {} |",
            files(code),
            files(tests)
        )
        .unwrap();
    }
    text.push('\n');
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
