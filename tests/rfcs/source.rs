//! Finds the clause ids that the source and the tests cite.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One id in brackets.
#[derive(Debug)]
pub(crate) struct Citation {
    pub(crate) id: String,
    /// From the root, with slashes.
    pub(crate) path: String,
    pub(crate) line: usize,
    /// In a test, where it says "proven here"; "done here" otherwise.
    pub(crate) in_test: bool,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Citations {
    pub(crate) all: Vec<Citation>,
}

impl Citations {
    pub(crate) fn read() -> Self {
        let mut all = Vec::new();
        for (folder, tests) in [("src", false), ("tests", true)] {
            for path in rust_files(&root().join(folder)) {
                let name = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
                if name != "tests/rfcs.rs" && !name.starts_with("tests/rfcs/") {
                    cite(&fs::read_to_string(&path).unwrap(), &name, tests, &mut all);
                }
            }
        }
        Self { all }
    }

    /// The files of `src/` that do `id`.
    pub(crate) fn code(&self, id: &str) -> BTreeSet<&str> {
        self.paths(id, false)
    }

    /// The files with a test of `id`.
    pub(crate) fn tests(&self, id: &str) -> BTreeSet<&str> {
        self.paths(id, true)
    }

    fn paths(&self, id: &str, in_test: bool) -> BTreeSet<&str> {
        let hits = self.all.iter().filter(|c| c.id == id && c.in_test == in_test);
        hits.map(|citation| citation.path.as_str()).collect()
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Adds the citations of one file. From `#[cfg(test)]`, alone or with
/// a feature, before a `mod … {` on, it is a test.
fn cite(text: &str, path: &str, tests: bool, all: &mut Vec<Citation>) {
    let mut in_test = tests || path.ends_with("/tests.rs");
    let mut lines = text.lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let next = lines.peek().map_or("", |(_, next)| next.trim());
        let gate =
            ["#[cfg(test)]", "#[cfg(all(test, "].iter().any(|gate| line.trim().starts_with(gate));
        in_test |= gate && next.starts_with("mod ") && next.ends_with('{');
        for id in ids(line) {
            let (id, path) = (String::from(id), String::from(path));
            all.push(Citation { id, path, line: index + 1, in_test });
        }
    }
}

/// What stands in brackets and looks like a clause id. A path of Rust in an array is none.
fn ids(line: &str) -> impl Iterator<Item = &str> {
    line.split('[').skip(1).filter_map(|rest| rest.split_once(']')).map(|(id, _)| id).filter(|id| {
        let number =
            id.strip_prefix("rfc").is_some_and(|id| id.starts_with(|c: char| c.is_ascii_digit()));
        (number && !id.contains("::")) || id.starts_with("mdns-ice-candidates-")
    })
}
