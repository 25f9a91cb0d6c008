//! A matrix as a program: which rows are wanted, and what they came to, for people to read.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What the command line asks of a matrix: `[FLAG]... [--write README.md] [PART OF A NAME]`.
pub struct Wanted {
    flags: Vec<String>,
    /// What the names of rows have; all of them, if there is none.
    only: Option<String>,
    write: Option<PathBuf>,
}

impl Wanted {
    /// Reads it, where these flags are known.
    ///
    /// # Errors
    ///
    /// A sentence about what cannot be meant.
    pub fn read(arguments: impl Iterator<Item = String>, flags: &[&str]) -> Result<Self, String> {
        let mut wanted = Self { flags: Vec::new(), only: None, write: None };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--write" => {
                    let file = arguments.next().ok_or("say where: --write README.md")?;
                    wanted.write = Some(file.into());
                }
                flag if flags.contains(&flag) => wanted.flags.push(argument),
                flag if flag.starts_with("--") => {
                    return Err(format!(
                        "there is no {flag}; there is --write {}",
                        flags.join(" ")
                    ));
                }
                _ => wanted.only = Some(argument),
            }
        }
        if wanted.write.is_some() && wanted.only.is_some() {
            return Err("--write takes all rows; leave out their names".into());
        }
        Ok(wanted)
    }

    /// Whether a flag was given.
    pub fn is_told(&self, flag: &str) -> bool {
        self.flags.iter().any(|told| told == flag)
    }

    /// Whether the tables go into a document.
    pub fn writes(&self) -> bool {
        self.write.is_some()
    }

    /// Whether a row of this name is wanted.
    pub fn has(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|only| name.contains(only))
    }

    /// Shows the tables, and puts them into the document if all rows are as they should be.
    ///
    /// # Errors
    ///
    /// A sentence, if there were no rows or some failed, or the document cannot take the tables.
    pub fn finish(
        &self,
        name: &str,
        tables: &str,
        rows: usize,
        failed: &[String],
    ) -> Result<(), String> {
        if rows == 0 {
            return Err("no row has such a name".into());
        }
        println!("{tables}");
        if !failed.is_empty() {
            return Err(format!("{} of {rows} failed:\n  {}", failed.len(), failed.join("\n  ")));
        }
        self.write.as_deref().map_or(Ok(()), |path| write_tables(path, name, tables))
    }
}

/// Ends a program of this name; what went wrong is said last.
pub fn ending(name: &str, outcome: Result<(), String>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Puts tables into a document, between `<!-- NAME: begin -->` and `<!-- NAME: end -->`.
fn write_tables(path: &Path, name: &str, tables: &str) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let [begin, end] = ["begin", "end"].map(|mark| format!("<!-- {name}: {mark} -->\n"));
    let missing = || format!("{} has no mark for the tables of {name}", path.display());
    let (before, rest) = text.split_once(&begin).ok_or_else(missing)?;
    let (_, after) = rest.split_once(&end).ok_or_else(missing)?;
    let text = format!("{before}{begin}{tables}{end}{after}");
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
