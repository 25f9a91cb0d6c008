//! The lines of a body that concern ICE, sorted by level: what descriptions and fragments share.

use core::time::Duration;
use std::net::{IpAddr, SocketAddr};

use crate::candidate::{Candidate, CandidateAddress, Credentials};

use super::credentials::{is_password, is_ufrag, is_visible};
use super::error::{ParseError, ParseErrorKind};
use super::line;
use super::{IceOptions, MAX_BODY, MAX_CANDIDATES};

/// The most other options that are kept.
pub(super) const MAX_OPTIONS: usize = 32;

/// The lines of one level: of the session, or of one `m=` section.
#[derive(Default)]
pub(super) struct Level<'a> {
    /// What follows `m=`.
    pub(super) media: &'a str,
    /// The number of the `m=` line.
    pub(super) line: u32,
    /// The address of the `c=` line, if there is one; `None` inside for a name.
    pub(super) connection: Option<Option<IpAddr>>,
    pub(super) mid: Option<&'a str>,
    pub(super) ufrag: Option<&'a str>,
    pub(super) password: Option<&'a str>,
    pub(super) options: Option<IceOptions>,
    pub(super) candidates: Vec<Candidate>,
    pub(super) remote_candidates: Vec<(u16, SocketAddr)>,
    pub(super) end_of_candidates: bool,
    pub(super) mismatch: bool,
    pub(super) bundle_only: bool,
    /// Whether any attribute of ICE stands at this level.
    pub(super) has_ice: bool,
}

impl Level<'_> {
    /// Returns ufrag and password, those of the session where the level has none of its own.
    /// Only both together show ICE support. [rfc8839-5.4-1] [rfc8839-4.2.5-p1]
    pub(super) fn credentials(&self, session: &Level<'_>) -> Option<Credentials> {
        let ufrag = self.ufrag.or(session.ufrag)?;
        let password = self.password.or(session.password)?;
        Some(Credentials { ufrag: ufrag.to_owned(), password: password.to_owned() })
    }
}

/// A body, sorted.
#[derive(Default)]
pub(super) struct Body<'a> {
    pub(super) lite: bool,
    pub(super) pacing: Option<Duration>,
    pub(super) bundle: Vec<String>,
    pub(super) session: Level<'a>,
    pub(super) sections: Vec<Level<'a>>,
    /// The number of candidate lines so far.
    candidate_lines: usize,
}

impl<'a> Body<'a> {
    /// Sorts the lines of a body. Attribute names count in whatever case, unknown ones and
    /// attributes at a level where they have no meaning are skipped. [rfc8840-9.2-1b]
    /// [rfc8840-9.2-3]
    pub(super) fn read(text: &'a str) -> Result<Self, ParseError> {
        if text.len() > MAX_BODY {
            return Err(ParseError { line: 1, kind: ParseErrorKind::TooLong });
        }
        let mut body = Self::default();
        let mut number = 0;
        for line in text.split('\n') {
            number += 1;
            body.line(number, line.strip_suffix('\r').unwrap_or(line))
                .map_err(|kind| ParseError { line: number, kind })?;
        }
        Ok(body)
    }

    fn line(&mut self, number: u32, line: &'a str) -> Result<(), ParseErrorKind> {
        let Some((kind, value)) = line.split_once('=') else { return Ok(()) };
        match kind {
            "m" => {
                let level = Level { media: value, line: number, ..Level::default() };
                self.sections.push(level);
            }
            "c" => self.level().connection = Some(connection(value)),
            "a" => {
                let (name, value) = value.split_once(':').unwrap_or((value, ""));
                return self.attribute(name, value);
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns the level that the next line belongs to.
    fn level(&mut self) -> &mut Level<'a> {
        self.sections.last_mut().unwrap_or(&mut self.session)
    }

    fn attribute(&mut self, name: &str, value: &'a str) -> Result<(), ParseErrorKind> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let in_session = self.sections.is_empty();
        self.level().has_ice |= is("candidate") || is("ice-ufrag") || is("ice-options");
        if is("candidate") {
            return self.candidate(value);
        } else if is("ice-ufrag") {
            let value = value.trim_matches(' ');
            self.level().ufrag = Some(value).filter(|ufrag| is_ufrag(ufrag));
            return self.level().ufrag.map(drop).ok_or(ParseErrorKind::Ufrag);
        } else if is("ice-pwd") {
            let value = value.trim_matches(' ');
            self.level().password = Some(value).filter(|password| is_password(password));
            return self.level().password.map(drop).ok_or(ParseErrorKind::Password);
        } else if is("ice-options") {
            read_options(value, self.level().options.get_or_insert_default());
        } else if is("end-of-candidates") {
            self.level().end_of_candidates = true;
        } else if is("mid") && !in_session {
            let value = value.trim_matches(' ');
            self.level().mid = Some(value).filter(|mid| !mid.is_empty() && is_visible(mid));
        } else if is("remote-candidates") && !in_session {
            return line::remote_candidates(value, &mut self.level().remote_candidates)
                .ok_or(ParseErrorKind::RemoteCandidates);
        } else if is("ice-mismatch") && !in_session {
            self.level().mismatch = true;
        } else if is("bundle-only") && !in_session {
            self.level().bundle_only = true;
        } else if is("ice-lite") && in_session {
            self.lite = true;
        } else if is("ice-pacing") && in_session {
            let pacing = line::decimal(value.trim_matches(' ')).ok_or(ParseErrorKind::Pacing)?;
            self.pacing = Some(Duration::from_millis(pacing));
        } else if is("group") && in_session {
            read_group(value, &mut self.bundle);
        }
        Ok(())
    }

    /// Reads a candidate line. One of a sort that is not known is skipped: other transports,
    /// types and address versions, and names that mDNS does not resolve. [rfc8839-5.1-2]
    /// [rfc8839-5.1-p1]
    fn candidate(&mut self, value: &str) -> Result<(), ParseErrorKind> {
        self.candidate_lines += 1;
        if self.candidate_lines > MAX_CANDIDATES {
            return Err(ParseErrorKind::TooManyCandidates);
        }
        let candidate = match line::candidate(value) {
            Ok(candidate) => candidate,
            Err(error) if error.is_unsupported() => return Ok(()),
            Err(error) => return Err(ParseErrorKind::Candidate(error)),
        };
        let known = match &candidate.address {
            CandidateAddress::Ip(_) => true,
            CandidateAddress::Name { host, .. } => line::is_mdns(host),
        };
        if known && let Some(level) = self.sections.last_mut() {
            level.candidates.push(candidate);
        }
        Ok(())
    }
}

/// Returns the address of a `c=` line, `None` for a name.
fn connection(value: &str) -> Option<IpAddr> {
    let word = value.split(' ').nth(2)?;
    line::ip(word.split_once('/').map_or(word, |(address, _)| address))
}

/// Adds the options of a line.
fn read_options(value: &str, options: &mut IceOptions) {
    for word in value.split(' ').filter(|word| !word.is_empty() && is_visible(word)) {
        match word {
            "ice2" => options.ice2 = true,
            "trickle" => options.trickle = true,
            "renomination" => options.renomination = true,
            other => {
                let new = !options.other.iter().any(|known| known == other);
                if new && options.other.len() < MAX_OPTIONS {
                    options.other.push(other.to_owned());
                }
            }
        }
    }
}

/// Reads the mids of a BUNDLE group; the first group counts.
fn read_group(value: &str, bundle: &mut Vec<String>) {
    let mut words = value.split(' ').filter(|word| !word.is_empty());
    let is_bundle = words.next().is_some_and(|word| word.eq_ignore_ascii_case("BUNDLE"));
    if is_bundle && bundle.is_empty() {
        bundle.extend(words.filter(|mid| is_visible(mid)).map(str::to_owned));
    }
}
