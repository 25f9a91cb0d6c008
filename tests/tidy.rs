//! The structure of the tree: who may know whom, how long things are, what must not be left behind.
//!
//! A finding is printed as `file:line: what is wrong; what to do`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "tidy/paths.rs"]
mod paths;
#[path = "tidy/scanner.rs"]
mod scanner;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use paths::{crate_paths, named};
use scanner::{code, functions, tokens};

/// The most lines of a file.
const FILE_LINES: usize = 900;
/// The lines of a file to aim for; more are noted, not refused.
const FILE_LINES_AIM: usize = 500;
/// The most lines of a function.
const FUNCTION_LINES: usize = 100;

/// What is around the core: it may know sockets, the clock and tokio.
const OUTSIDE: [&str; 3] = ["src/driver/", "src/adapters/", "src/bin/"];

/// One file of the tree.
struct File {
    /// From the root, with `/`.
    path: String,
    text: String,
}

impl File {
    fn is_under(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text files below `places`, by path.
fn files(places: &[&str]) -> Vec<File> {
    let mut found = Vec::new();
    for place in places {
        collect(&root().join(place), &mut found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(place: &Path, found: &mut Vec<File>) {
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    if ["target", "corpus", "artifacts", "node_modules", "venv", ".git"].contains(&name.as_ref()) {
        return;
    }
    if !place.exists() {
        return;
    }
    if place.is_dir() {
        for entry in fs::read_dir(place).unwrap() {
            collect(&entry.unwrap().path(), found);
        }
    } else if let Ok(text) = fs::read_to_string(place) {
        let path = place.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
        found.push(File { path, text });
    }
}

fn rust(places: &[&str]) -> Vec<File> {
    let mut files = files(places);
    files.retain(|file| Path::new(&file.path).extension().is_some_and(|ending| ending == "rs"));
    assert!(!files.is_empty(), "no Rust in {places:?}");
    files
}

/// All that is Rust here.
fn all_rust() -> Vec<File> {
    rust(&["src", "tests", "examples", "fuzz", "interop"])
}

fn report(findings: &[String]) {
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

/// The lines whose code has one of the token sequences `patterns`, such as `["crate", ":", ":"]`.
fn lines_with(file: &File, patterns: &[&[&str]]) -> Vec<(usize, String)> {
    let code = code(&file.text);
    let tokens = tokens(&code);
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        for pattern in patterns {
            let here = tokens[at..].iter().take(pattern.len()).map(|(_, token)| *token);
            if here.eq(pattern.iter().copied()) {
                found.push((tokens[at].0, pattern.concat()));
            }
        }
    }
    found
}

/// One finding for each line of the files that has one of the patterns.
fn forbid(files: &[File], patterns: &[&[&str]], why: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files {
        for (line, what) in lines_with(file, patterns) {
            findings.push(format!("{}:{line}: `{what}` {why}", file.path));
        }
    }
    findings
}

#[test]
fn the_core_knows_no_socket_clock_runtime_or_entropy() {
    const TRANSPORTS: [&str; 2] = ["src/signaling/lines.rs", "src/signaling/memory.rs"];
    let mut core = rust(&["src"]);
    core.retain(|file| !file.is_under(&OUTSIDE) && !file.is_under(&TRANSPORTS));
    let mut findings = forbid(
        &core,
        &[
            &["SystemTime"],
            &["tokio"],
            &["getrandom"],
            &["socket2"],
            &["netdev"],
            &["UdpSocket"],
            &["TcpStream"],
            &["TcpListener"],
        ],
        "belongs to the driver; pass in what the core needs",
    );
    for file in &core {
        let code = code(&file.text);
        for (line, statement) in statements(&code) {
            let of_std = statement.contains("std::time::");
            if of_std && tokens(&statement).iter().any(|(_, word)| *word == "Instant") {
                let what = "`std::time::Instant` is a clock; use `floe::Instant`";
                findings.push(format!("{}:{line}: {what}", file.path));
            }
        }
    }
    report(&findings);
}

/// What stands between semicolons, on one line, with the line where it begins.
fn statements(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut line = 1;
    for piece in code.split_inclusive(';') {
        let blank = piece.len() - piece.trim_start().len();
        let start = line + piece[..blank].matches('\n').count();
        found.push((start, piece.split_whitespace().collect::<Vec<_>>().join(" ")));
        line += piece.matches('\n').count();
    }
    found
}

#[test]
fn stun_names_nothing_of_ice() {
    let why = "is above STUN; hand in plain values";
    let words: [&[&str]; 9] = [
        &["candidate"],
        &["agent"],
        &["endpoint"],
        &["gather"],
        &["Candidate"],
        &["Agent"],
        &["AgentId"],
        &["Endpoint"],
        &["ComponentId"],
    ];
    report(&forbid(&rust(&["src/stun"]), &words, why));
}

#[test]
fn the_agent_sees_bases_not_sockets() {
    let why = "belongs to the endpoint; an agent has bases";
    let words: [&[&str]; 6] = [
        &["turn", ":", ":"],
        &[":", ":", "turn"],
        &["SocketId"],
        &["Transmit"],
        &["endpoint"],
        &["gather"],
    ];
    report(&forbid(&rust(&["src/agent"]), &words, why));
}

/// What the modules below the agent may name of the crate; what stands in no row is free.
const BELOW: [(&str, &[&str]); 7] = [
    ("src/time.rs", &[]),
    ("src/framing.rs", &["stun"]),
    ("src/demux.rs", &["stun"]),
    ("src/probe", &["time"]),
    ("src/stun", &["config", "time"]),
    ("src/turn", &["config", "framing", "net", "rng", "stun", "time"]),
    ("src/candidate.rs", &["net"]),
];

#[test]
fn a_module_names_what_is_below_it_alone() {
    let mut findings = Vec::new();
    for (place, below) in BELOW {
        let itself = Path::new(place).file_stem().unwrap_or_default().to_string_lossy();
        for file in rust(&[place]) {
            let code = code(&file.text);
            for (line, path) in crate_paths(&tokens(&code)) {
                let [first, ..] = path[..] else { continue };
                let module = first.starts_with(|c: char| c.is_ascii_lowercase());
                // What tests plant may stand anywhere.
                let planted = first == "canary";
                if module && !planted && first != itself && !below.contains(&first) {
                    let what =
                        format!("`crate::{first}` is not below {place}; hand in what it has");
                    findings.push(format!("{}:{line}: {what}", file.path));
                }
            }
        }
    }
    report(&findings);
}

#[test]
fn turn_knows_no_agent() {
    let why = "is above TURN; an allocation is for who asks";
    let words: [&[&str]; 9] = [
        &["agent"],
        &["endpoint"],
        &["candidate"],
        &["gather"],
        &["Agent"],
        &["AgentId"],
        &["Endpoint"],
        &["Candidate"],
        &["SocketId"],
    ];
    report(&forbid(&rust(&["src/turn"]), &words, why));
}

/// Paths alone are looked at: a method that is `pub(crate)` is not seen.
#[test]
fn the_driver_uses_the_public_interface_alone() {
    const ITEMS: [&str; 8] = ["fn", "struct", "enum", "union", "trait", "type", "const", "static"];
    let root = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let root = code(&root);
    let root = tokens(&root);
    let private = named(&root, &["mod"], false);
    assert!(private.contains("agent"), "src/lib.rs: the modules are not understood");
    let exported: BTreeSet<&str> = root.iter().map(|(_, token)| *token).collect();

    let mut core = rust(&["src"]);
    core.retain(|file| !file.is_under(&OUTSIDE));
    let core: Vec<String> = core.iter().map(|file| code(&file.text)).collect();
    let items = |public| core.iter().flat_map(move |code| named(&tokens(code), &ITEMS, public));
    let public: BTreeSet<&str> = items(true).collect();
    let hidden: BTreeSet<&str> = items(false).filter(|name| !public.contains(name)).collect();

    let mut findings = Vec::new();
    for file in rust(&["src/driver", "src/adapters"]) {
        for (line, path) in crate_paths(&tokens(&code(&file.text))) {
            let [first, .., last] = path[..] else { continue };
            let inside = private.contains(first) && !exported.contains(last);
            let outside = first == "driver" || first == "adapters";
            if !outside && (inside || hidden.contains(last)) {
                let path = path.join("::");
                let what = format!("`crate::{path}` is not public; use what lib.rs shows");
                findings.push(format!("{}:{line}: {what}", file.path));
            }
        }
    }
    report(&findings);
}

#[test]
fn no_file_is_too_long() {
    let files = all_rust();
    for file in &files {
        let lines = file.text.lines().count();
        if lines > FILE_LINES_AIM {
            println!("note: {}: {lines} lines, over the {FILE_LINES_AIM} to aim for", file.path);
        }
    }
    let findings: Vec<String> = files
        .iter()
        .map(|file| (file, file.text.lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES)
        .map(|(file, lines)| {
            format!("{}:{lines}: over {FILE_LINES} lines; split it by what it does", file.path)
        })
        .collect();
    report(&findings);
}

#[test]
fn no_function_is_too_long() {
    let mut findings = Vec::new();
    for file in all_rust() {
        for function in functions(&tokens(&code(&file.text))) {
            if function.lines > FUNCTION_LINES {
                let (name, lines) = (function.name, function.lines);
                let what = format!("`{name}` has {lines} lines, over {FUNCTION_LINES}; split it");
                findings.push(format!("{}:{}: {what}", file.path, function.line));
            }
        }
    }
    report(&findings);
}

#[test]
fn nothing_is_left_half_done() {
    let macros: [&[&str]; 4] =
        [&["todo", "!"], &["unimplemented", "!"], &["dbg", "!"], &["#", "[", "ignore"]];
    let mut findings = forbid(&all_rust(), &macros, "is left over; finish it");
    let words = [concat!("FIX", "ME"), concat!("TO", "DO")];
    let mut places = all_rust();
    places.extend(documents());
    for file in &places {
        for (number, line) in file.text.lines().enumerate() {
            let mut parts = line.split(|c: char| !c.is_alphanumeric());
            if parts.any(|part| words.contains(&part)) {
                let line = number + 1;
                findings.push(format!("{}:{line}: a note of work undone; do it", file.path));
            }
        }
    }
    report(&findings);
}

/// The driver's one timer and the tool's pauses are not a thread that waits for luck.
#[test]
fn nothing_sleeps_to_wait_for_something() {
    const ON_PURPOSE: [&str; 2] = ["src/driver/run.rs", "src/bin/floe/demo.rs"];
    let mut files = rust(&["src", "tests"]);
    files.retain(|file| !ON_PURPOSE.contains(&file.path.as_str()));
    report(&forbid(&files, &[&["sleep", "("]], "waits for luck; await the event itself"));
}

/// The documents and settings at the root.
fn documents() -> Vec<File> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root()).unwrap() {
        let path = entry.unwrap().path();
        let ending = path.extension().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_file() && ["md", "toml"].contains(&ending.as_str()) {
            collect(&path, &mut found);
        }
    }
    found.extend(files(&[".ci"]));
    found
}

#[test]
fn no_path_of_a_machine_is_named() {
    let machines = [
        concat!("/ho", "me/"),
        concat!("/Us", "ers/"),
        concat!("/wo", "rk/"),
        concat!("/fa", "rm/"),
        concat!("/ro", "ot/"),
        concat!("../sha", "red"),
    ];
    let mut places = files(&["src", "tests", "examples", "fuzz", "interop"]);
    places.extend(documents());
    let mut findings = Vec::new();
    for file in &places {
        for (number, line) in file.text.lines().enumerate() {
            if let Some(path) = machines.iter().find(|path| line.contains(**path)) {
                let line = number + 1;
                let what = format!("`{path}` is of one machine; name it from the root of the tree");
                findings.push(format!("{}:{line}: {what}", file.path));
            }
        }
    }
    report(&findings);
}

/// Follows the `mod`s of one file; those of a crate root, or of a file that a `#[path]` names, are
/// beside it.
fn reach(path: &Path, beside: bool, seen: &mut BTreeSet<PathBuf>) {
    if !seen.insert(path.to_owned()) {
        return;
    }
    let text = fs::read_to_string(path).unwrap();
    let code = code(&text);
    let tokens = tokens(&code);
    let here = path.parent().unwrap();
    let directory = match path.file_name().and_then(|name| name.to_str()) {
        Some("mod.rs") => here.to_owned(),
        _ if beside => here.to_owned(),
        _ => path.with_extension(""),
    };
    // The modules that stand in braces around the place, `None` for other braces.
    let mut around: Vec<Option<&str>> = Vec::new();
    for (at, &(line, token)) in tokens.iter().enumerate() {
        let word = |back: usize| at.checked_sub(back).map_or("", |at| tokens[at].1);
        match token {
            "{" => around.push((word(2) == "mod").then(|| word(1))),
            "}" => drop(around.pop()),
            ";" if word(2) == "mod" => {
                let attribute = text.lines().nth(line.wrapping_sub(2)).unwrap_or_default().trim();
                let given = attribute.strip_prefix("#[path = \"");
                let given = given.and_then(|rest| rest.strip_suffix("\"]"));
                let name = word(1);
                let inner: PathBuf = around.iter().flatten().collect();
                let directory = directory.join(inner);
                let file = directory.join(format!("{name}.rs"));
                let places = [file, directory.join(name).join("mod.rs")];
                let found = given.map(|given| here.join(given)).into_iter().chain(places);
                let found = found.into_iter().find(|path| path.exists());
                let missing = || panic!("{}:{line}: no file for `{name}`", path.display());
                reach(&found.unwrap_or_else(missing), given.is_some(), seen);
            }
            _ => {}
        }
    }
}

/// The crate roots of the library, the tool, and the tests that Cargo finds by itself.
fn crate_roots() -> Vec<PathBuf> {
    let mut roots = vec![root().join("src/lib.rs"), root().join("src/bin/floe/main.rs")];
    for entry in fs::read_dir(root().join("tests")).unwrap() {
        let path = entry.unwrap().path();
        let main = path.join("main.rs");
        if path.is_file() {
            roots.push(path);
        } else if main.exists() {
            roots.push(main);
        }
    }
    roots
}

#[test]
fn every_source_file_is_part_of_a_crate() {
    let mut seen = BTreeSet::new();
    for path in crate_roots() {
        reach(&path, true, &mut seen);
    }
    let findings: Vec<String> = rust(&["src", "tests"])
        .iter()
        .filter(|file| !seen.contains(&root().join(&file.path)))
        .map(|file| format!("{}:1: no `mod` names it; name it or delete it", file.path))
        .collect();
    report(&findings);
}

#[test]
fn the_msrv_is_stated_once() {
    let mut findings = Vec::new();
    let mut places = documents();
    places.extend(files(&["fuzz", "interop", "examples"]));
    places.retain(|file| Path::new(&file.path).extension().is_some_and(|ending| ending == "toml"));
    assert!(places.iter().any(|file| file.path == "Cargo.toml"), "no Cargo.toml");
    for file in &places {
        for (number, line) in file.text.lines().enumerate() {
            let stated =
                ["rust-version", "msrv", "channel"].iter().any(|key| line.starts_with(key));
            let here = file.path == "Cargo.toml" && line.starts_with("rust-version = ");
            if stated && !here {
                let what = "the MSRV again; Cargo.toml at the root has it";
                findings.push(format!("{}:{}: {what}", file.path, number + 1));
            }
        }
    }
    if root().join("rust-toolchain").exists() {
        findings.push("rust-toolchain:1: a toolchain for all; leave it to who builds".to_owned());
    }
    report(&findings);
}

#[test]
fn the_readme_names_the_msrv() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let version = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "))
        .unwrap_or_else(|| panic!("Cargo.toml:1: no rust-version; give one"))
        .trim_matches('"');
    let (line, wanted) = (readme.lines().count(), format!("Rust {version}."));
    let said = readme.split("## MSRV").nth(1).unwrap_or_default();
    assert!(said.contains(&wanted), "README.md:{line}: the MSRV is not \"{wanted}\"; say so");
}

#[test]
fn every_fuzz_target_is_built_explained_and_replayed() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let manifest = read("fuzz/Cargo.toml");
    let readme = read("fuzz/README.md");
    // Where the seeds of a target are replayed: where that which it needs is.
    let replays =
        ["tests/it/fuzz_seeds.rs", "tests/sim/fuzz_seeds.rs", "fuzz/tests/differential.rs"]
            .map(read)
            .concat();
    let mut findings = Vec::new();
    for file in rust(&["fuzz/fuzz_targets"]) {
        let path = Path::new(&file.path);
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let seeds = fs::read_dir(root().join("fuzz/seeds").join(&*name));
        let told = [
            (manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "a [[bin]]"),
            (readme.contains(&format!("`{name}`")), "a line in fuzz/README.md"),
            (replays.contains(&*name), "a test that replays its seeds"),
            (seeds.is_ok_and(|mut seeds| seeds.next().is_some()), "seeds"),
        ];
        for (_, what) in told.iter().filter(|(there, _)| !there) {
            findings.push(format!("{}:1: the target has not {what}; add it", file.path));
        }
    }
    report(&findings);
}

#[test]
fn every_exception_from_a_lint_has_a_reason() {
    let mut findings = Vec::new();
    for file in all_rust() {
        let code = code(&file.text);
        let tokens = tokens(&code);
        for (at, window) in tokens.windows(3).enumerate() {
            let [(line, "["), (_, "allow" | "expect"), (_, "(")] = window else { continue };
            let mut attribute = tokens[at..].iter().take_while(|(_, token)| *token != "]");
            if !attribute.any(|(_, token)| *token == "reason") {
                let what = "an exception from a lint without a reason; add `reason = \"…\"`";
                findings.push(format!("{}:{line}: {what}", file.path));
            }
        }
    }
    report(&findings);
}

/// SECURITY.md promises nothing that no test holds.
#[test]
fn every_promise_of_security_names_tests_that_exist() {
    let names: BTreeSet<String> = rust(&["src", "tests"])
        .iter()
        .flat_map(|file| functions(&tokens(&code(&file.text))))
        .map(|function| function.name)
        .collect();
    let text = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let mut findings = Vec::new();
    let mut table = false;
    for (line, row) in (1..).zip(text.lines()) {
        let named: Vec<&str> = row.split('`').skip(1).step_by(2).filter(|n| is_claim(n)).collect();
        for name in named.iter().filter(|name| !names.contains(**name)) {
            findings.push(format!("SECURITY.md:{line}: no test is called `{name}`"));
        }
        table = row.starts_with('|') && (table || row.contains("the test that holds it"));
        let promises = table && !row.contains("---") && !row.contains("the test that holds it");
        if promises && named.is_empty() {
            findings.push(format!("SECURITY.md:{line}: no test holds this; name one"));
        }
    }
    report(&findings);
}

/// Whether a name is that of a test: four words or more.
fn is_claim(name: &str) -> bool {
    name.matches('_').count() >= 3 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[test]
fn what_is_quoted_is_not_code() {
    let odd = concat!(
        "fn a() { let b = '{'; let c: &'static str = \"}\\\"{\"; } // {\n",
        "fn d() { /* { /* } */ */ let e = r#\"\"{\"#; let f = '\\''; let g = b'}'; }\n",
        "trait H { fn i(j: [u8; 2]); }\n",
    );
    let code = code(odd);
    assert_eq!(code.lines().count(), odd.lines().count());
    let found = functions(&tokens(&code));
    let found: Vec<(&str, usize)> = found.iter().map(|f| (f.name.as_str(), f.lines)).collect();
    assert_eq!(found, [("a", 1), ("d", 1)]);
}

#[test]
fn a_tree_of_names_is_one_path_for_each_leaf() {
    let text = "use crate::{a::{b, self as c}, d::*}; crate::e::F::g(); super::super::h::I;";
    let code = code(text);
    let tokens = tokens(&code);
    let found = crate_paths(&tokens);
    let found: Vec<String> = found.iter().map(|(_, path)| path.join("::")).collect();
    assert_eq!(found, ["a::b", "a::self", "d::*", "e::F::g", "h::I"]);
}

#[test]
fn a_forbidden_name_is_found_where_it_stands() {
    let text = "// tokio\nuse tokio::net;\nlet a = \"tokio\";\n".to_owned();
    let file = File { path: "x.rs".to_owned(), text };
    let found = lines_with(&file, &[&["tokio"]]);
    assert_eq!(found, [(2, "tokio".to_owned())]);
}
