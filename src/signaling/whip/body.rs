//! Descriptions as text: what concerns ICE is taken out, exchanged and added, the rest stays.

use core::fmt::Write as _;

use super::super::CandidateInit;
use crate::candidate::Credentials;
use crate::sdp::{Description, Fragment, FragmentSection};

/// The lines of a body, without their ends, cut before each `m=` line.
struct Text<'a> {
    session: Vec<&'a str>,
    sections: Vec<Vec<&'a str>>,
}

impl<'a> Text<'a> {
    fn cut(sdp: &'a str) -> Self {
        let mut text = Text { session: Vec::new(), sections: Vec::new() };
        for line in sdp.lines().filter(|line| !line.is_empty()) {
            if line.starts_with("m=") {
                text.sections.push(Vec::new());
            }
            text.sections.last_mut().unwrap_or(&mut text.session).push(line);
        }
        text
    }
}

/// Whether a line is the attribute `name`, in whatever case.
fn is_attribute(line: &str, name: &str) -> bool {
    let Some(attribute) = line.strip_prefix("a=") else { return false };
    attribute.split(':').next().is_some_and(|known| known.eq_ignore_ascii_case(name))
}

fn put(out: &mut String, line: &str) {
    out.push_str(line);
    out.push_str("\r\n");
}

/// Whether the text stays on one line.
fn is_line(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

/// Makes the fragment that says of ICE what a description says: all candidates, credentials at the
/// level where the description has them, and its options, pacing and lite. Of a BUNDLE group the
/// tagged section stands for all. [rfc9725-4.3.2-7] [rfc9725-4.3.2-p2] [rfc9725-4.3.3-p1]
/// [rfc9725-4.3.3-8] [rfc8840-4.4-3] [rfc8840-4.4-8] [rfc8840-4.4-10] [rfc8840-4.4-11]
/// [rfc8840-7-1] [rfc8840-7-2] [rfc8840-9.2-2]
///
/// `None` if nothing in it uses ICE.
pub(super) fn fragment_of(sdp: &str) -> Option<Fragment> {
    let description = Description::parse(sdp).ok()?;
    let text = Text::cut(sdp);
    let of_session = text.session.iter().any(|line| is_attribute(line, "ice-ufrag"));
    let mut fragment = Fragment::of(&description);
    fragment.lite = description.lite;
    fragment.options = description.options.clone();
    fragment.pacing = description.pacing;
    let used = |index: usize| {
        let stream = description.streams.get(index);
        stream.is_some_and(|s| !s.rejected && !s.mismatch && s.credentials.is_some())
    };
    let medias = text.sections.iter().enumerate().filter(|(index, _)| used(*index));
    for (section, (_, lines)) in fragment.sections.iter_mut().zip(medias) {
        if let Some(media) = lines.first().and_then(|line| line.strip_prefix("m=")) {
            section.media = media.to_owned();
        }
        if of_session {
            fragment.credentials = section.credentials.take().or(fragment.credentials.take());
        }
    }
    let tagged = fragment.bundle.first().cloned();
    let has = |mid: &str| fragment.sections.iter().any(|s| s.mid.as_deref() == Some(mid));
    if let Some(tagged) = tagged.filter(|mid| has(mid)) {
        let bundle = &fragment.bundle;
        fragment.sections.retain(|section| {
            let Some(mid) = &section.mid else { return true };
            *mid == tagged || !bundle.contains(mid)
        });
    }
    (!fragment.sections.is_empty()).then_some(fragment)
}

/// Returns the ufrag and password of the first section of a fragment.
pub(super) fn credentials(fragment: &Fragment) -> Option<&Credentials> {
    fragment.generation(fragment.sections.first()?)
}

/// Exchanges what a description says of ICE for what a fragment says: no candidate of before is
/// left, and all else stays. [rfc9725-4.3.3-1] [rfc9725-4.3.3-7]
///
/// `None` if a section that uses ICE would be left without credentials, or there is none.
pub(super) fn exchange(sdp: &str, fragment: &Fragment) -> Option<String> {
    let description = Description::parse(sdp).ok()?;
    let text = Text::cut(sdp);
    let mut out = String::with_capacity(sdp.len());
    for line in &text.session {
        if !of_generation(line) {
            put(&mut out, &next_version(line).unwrap_or_else(|| (*line).to_owned()));
        }
    }
    let mut exchanged = false;
    for (stream, lines) in description.streams.iter().zip(&text.sections) {
        let uses_ice = stream.credentials.is_some() && !stream.rejected && !stream.mismatch;
        if !uses_ice {
            lines.iter().for_each(|line| put(&mut out, line));
            continue;
        }
        for line in lines.iter().filter(|line| !of_generation(line)) {
            put(&mut out, &without_destination(line));
        }
        let own = section_of(fragment, stream.mid.as_deref(), description.streams.len());
        let bundled =
            |mid: &Option<String>| mid.as_ref().is_some_and(|mid| description.bundle.contains(mid));
        let mut sections = fragment.sections.iter().filter(|_| bundled(&stream.mid));
        let group = sections.find(|section| bundled(&section.mid));
        let credentials = fragment.generation(own.or(group)?)?;
        put(&mut out, &format!("a=ice-ufrag:{}", credentials.ufrag));
        put(&mut out, &format!("a=ice-pwd:{}", credentials.password));
        for candidate in own.iter().flat_map(|section| &section.candidates) {
            put(&mut out, &format!("a={candidate}"));
        }
        if own.is_some_and(|section| fragment.ends(section)) {
            put(&mut out, "a=end-of-candidates");
        }
        exchanged = true;
    }
    exchanged.then_some(out)
}

/// Returns the section of a stream: that with its mid; where there is one of each, that one.
pub(super) fn section_of<'a>(
    fragment: &'a Fragment,
    mid: Option<&str>,
    streams: usize,
) -> Option<&'a FragmentSection> {
    let mut sections = fragment.sections.iter();
    let named = sections.find(|section| section.mid.is_some() && section.mid.as_deref() == mid);
    named.or_else(|| match fragment.sections.as_slice() {
        [only] if streams == 1 && (only.mid.is_none() || mid.is_none()) => Some(only),
        _ => None,
    })
}

/// Whether a line is of one generation alone.
fn of_generation(line: &str) -> bool {
    const NAMES: [&str; 7] = [
        "candidate",
        "end-of-candidates",
        "ice-mismatch",
        "ice-pwd",
        "ice-ufrag",
        "remote-candidates",
        "rtcp",
    ];
    NAMES.iter().any(|name| is_attribute(line, name))
}

/// Counts the version of an `o=` line up; `None` for other lines.
fn next_version(line: &str) -> Option<String> {
    let mut words = line.strip_prefix("o=")?.splitn(4, ' ');
    let (user, id, version, rest) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let version = version.parse::<u64>().ok()?.checked_add(1)?;
    Some(format!("o={user} {id} {version} {rest}"))
}

/// Lets a line name no default destination, which was one of the candidates of before.
fn without_destination(line: &str) -> String {
    if line.starts_with("c=") {
        return String::from("c=IN IP4 0.0.0.0");
    }
    let Some(media) = line.strip_prefix("m=") else { return line.to_owned() };
    let mut words = media.splitn(3, ' ');
    match (words.next(), words.next(), words.next()) {
        (Some(kind), Some(port), Some(rest)) if port != "0" => format!("m={kind} 9 {rest}"),
        _ => line.to_owned(),
    }
}

/// Adds candidates that a description does not have yet, each to its section, and their end to all
/// sections that use ICE: it is the full list. [rfc9725-4.3.2-3b]
///
/// Candidates of another generation than the description's, and what is no candidate, are left out.
pub(super) fn with_candidates(sdp: &str, candidates: &[CandidateInit]) -> Option<String> {
    let description = Description::parse(sdp).ok()?;
    let text = Text::cut(sdp);
    let mut out = String::with_capacity(sdp.len() + 128 * candidates.len());
    text.session.iter().for_each(|line| put(&mut out, line));
    for (index, (stream, lines)) in description.streams.iter().zip(&text.sections).enumerate() {
        lines.iter().for_each(|line| put(&mut out, line));
        let Some(credentials) = &stream.credentials else { continue };
        if stream.rejected || stream.mismatch {
            continue;
        }
        let mut there: Vec<&str> =
            lines.iter().filter_map(|line| line.strip_prefix("a=")).collect();
        for init in candidates {
            let of = index_of(&description, init) == Some(index);
            let current = init.username_fragment.as_ref().is_none_or(|u| *u == credentials.ufrag);
            let candidate = init.candidate.trim();
            let fits = candidate.starts_with("candidate:") && is_line(candidate);
            if of && current && fits && !there.contains(&candidate) {
                there.push(candidate);
                let _ = write!(out, "a={candidate}\r\n");
            }
        }
        if !there.contains(&"end-of-candidates") {
            put(&mut out, "a=end-of-candidates");
        }
    }
    Some(out)
}

/// Returns the stream that a candidate is of: by mid, else by index, else the first.
pub(super) fn index_of(description: &Description, init: &CandidateInit) -> Option<usize> {
    if let Some(mid) = &init.sdp_mid {
        let mut streams = description.streams.iter();
        if let Some(index) = streams.position(|stream| stream.mid.as_ref() == Some(mid)) {
            return Some(index);
        }
    }
    let index = init.sdp_m_line_index.map_or(0, usize::from);
    (index < description.streams.len()).then_some(index)
}
