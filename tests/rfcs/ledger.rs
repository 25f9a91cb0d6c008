//! Reads `tests/rfcs/*.tsv`.

use std::fs;

use crate::source;

/// How much a clause binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// MUST, MUST NOT, SHALL.
    Must,
    /// SHOULD, SHOULD NOT, RECOMMENDED, NOT RECOMMENDED.
    Should,
    /// MAY.
    May,
    /// Prescribed without a key word.
    Prose,
}

/// One row.
#[derive(Clone, Debug)]
pub(crate) struct Clause {
    pub(crate) id: String,
    pub(crate) rfc: String,
    pub(crate) section: String,
    pub(crate) level: Level,
    /// The key word itself.
    pub(crate) word: String,
    pub(crate) who: String,
    pub(crate) requirement: String,
    pub(crate) area: String,
    pub(crate) applies: String,
}

/// The RFCs in the order of the table, with a short title each.
pub(crate) const RFCS: [(&str, &str); 22] = [
    ("8445", "ICE"),
    ("8489", "STUN"),
    ("8838", "Trickle ICE"),
    ("8839", "ICE in SDP"),
    ("8840", "Trickle ICE in SDP and SIP"),
    ("8863", "Patience: the PAC timer"),
    ("7675", "Consent freshness"),
    ("8421", "Multihomed and dual-stack hosts"),
    ("7983", "Demultiplexing"),
    ("9443", "Demultiplexing with QUIC"),
    ("8656", "TURN"),
    ("6062", "TURN for TCP peers"),
    ("6544", "TCP candidates"),
    ("mdns-ice-candidates", "mDNS candidates (draft)"),
    ("5780", "NAT behaviour discovery"),
    ("6886", "NAT-PMP"),
    ("6887", "PCP"),
    ("7050", "NAT64 prefix discovery"),
    ("7064", "STUN URIs"),
    ("7065", "TURN URIs"),
    ("9725", "WHIP"),
    ("8828", "Which addresses WebRTC tells"),
];

/// Reads all rows, in the order of [`RFCS`].
pub(crate) fn read() -> Vec<Clause> {
    let folder = source::root().join("tests/rfcs");
    let mut clauses = Vec::new();
    let mut files = 0;
    for (rfc, _) in RFCS {
        let name = rfc.parse::<u16>().map_or(format!("{rfc}.tsv"), |n| format!("rfc{n}.tsv"));
        let text = fs::read_to_string(folder.join(&name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        files += 1;
        clauses.extend(text.lines().skip(1).map(|line| clause(&name, line)));
    }
    let there = fs::read_dir(&folder).unwrap().flatten();
    let there = there.filter(|entry| entry.path().extension().is_some_and(|e| e == "tsv")).count();
    assert_eq!(files, there, "each tests/rfcs/*.tsv needs a line in RFCS of tests/rfcs/ledger.rs");
    clauses
}

fn clause(file: &str, line: &str) -> Clause {
    let columns: Vec<_> = line.split('\t').collect();
    let [id, rfc, section, word, who, requirement, area, applies] = columns[..] else {
        panic!("{file}: not eight columns: {line}");
    };
    let level = match word {
        "MUST" | "MUST NOT" | "SHALL" => Level::Must,
        "SHOULD" | "SHOULD NOT" | "RECOMMENDED" | "NOT RECOMMENDED" => Level::Should,
        "MAY" => Level::May,
        "PROSE" => Level::Prose,
        _ => panic!("{file}: unknown level {word} in {id}"),
    };
    let owned = String::from;
    Clause {
        id: owned(id),
        rfc: owned(rfc),
        section: owned(section),
        level,
        word: owned(word),
        who: owned(who),
        requirement: owned(requirement),
        area: owned(area),
        applies: owned(applies),
    }
}
