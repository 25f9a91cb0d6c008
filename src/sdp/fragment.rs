//! Fragments: candidates on their way after the description. [RFC 8840 §4.4]

use core::fmt;
use core::mem::take;
use core::str::FromStr;
use core::time::Duration;

use crate::candidate::{Candidate, Credentials};

use super::body::{Body, Level};
use super::error::ParseError;
use super::write::{is_line, is_word, line, write_candidates, write_credentials, write_session};
use super::{Description, IceOptions};

/// The `m=` line that stands for one that is not known. [rfc8840-4.4-4] [rfc8840-4.4-5]
const PSEUDO_MEDIA: &str = "audio 9 RTP/AVP 0";

/// One section of a fragment: the candidates of one data stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FragmentSection {
    /// What the pseudo `m=` line holds. It says nothing to the receiver. [rfc8840-4.4-2]
    /// [rfc8840-4.4-3]
    pub media: String,
    /// The mid: which stream it is.
    pub mid: Option<String>,
    /// The generation, if it is given for this section.
    pub credentials: Option<Credentials>,
    /// All candidates of the generation so far, in the order in which they were first sent.
    /// [rfc8840-4.4-11] [rfc8840-4.4-12]
    pub candidates: Vec<Candidate>,
    /// Whether no further candidates will come for this stream. [rfc8840-4.4-p2]
    pub end_of_candidates: bool,
}

impl Default for FragmentSection {
    fn default() -> Self {
        Self {
            media: PSEUDO_MEDIA.to_owned(),
            mid: None,
            credentials: None,
            candidates: Vec::new(),
            end_of_candidates: false,
        }
    }
}

impl FragmentSection {
    /// Returns the candidates that are not among the `known` ones, in the order of the fragment.
    /// Candidates are the same if address, port, transport and component are. [rfc8840-4.4-14]
    /// [rfc8840-4.4-15] [rfc8840-4.4-p1]
    pub fn unknown_to<'a>(&'a self, known: &'a [Candidate]) -> impl Iterator<Item = &'a Candidate> {
        self.candidates.iter().filter(|candidate| {
            !known.iter().any(|known| {
                known.address == candidate.address
                    && known.protocol == candidate.protocol
                    && known.component == candidate.component
            })
        })
    }
}

/// A body of type `application/trickle-ice-sdpfrag`: trickled candidates, the end of candidates,
/// or (in WHIP) a restart. [rfc8840-4.4-1]
///
/// With it a signalling protocol conveys candidates as they are found, and says of which
/// generation they are and when that is complete. [rfc8838-18-2] [rfc8838-18-5a] [rfc8838-18-5b]
///
/// It is read with [`str::parse`] and written with `Display`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fragment {
    /// Whether the side is lite.
    pub lite: bool,
    /// The options.
    pub options: IceOptions,
    /// The proposed Ta, in whole milliseconds; `None` for a lite side.
    pub pacing: Option<Duration>,
    /// The mids of the BUNDLE group, in the order of the answer. [rfc8840-7-1] [rfc8840-7-2]
    pub bundle: Vec<String>,
    /// The generation of all sections that give none of their own.
    pub credentials: Option<Credentials>,
    /// Whether no further candidates will come for any stream. [rfc8840-4.4-p2]
    pub end_of_candidates: bool,
    /// The sections, one for each stream that has something new. [rfc8840-4.4-6]
    pub sections: Vec<FragmentSection>,
}

impl Fragment {
    /// The media type of a fragment. [rfc8840-4.4-1]
    pub const MEDIA_TYPE: &'static str = "application/trickle-ice-sdpfrag";

    /// Makes the fragment that repeats everything a description says of its streams that use
    /// ICE. [rfc8840-4.4-6] [rfc8840-4.4-8] [rfc8840-4.4-11]
    #[must_use]
    pub fn of(description: &Description) -> Self {
        let streams = description.streams.iter();
        let sections = streams
            .filter(|stream| !stream.rejected && !stream.mismatch && stream.credentials.is_some())
            .map(|stream| FragmentSection {
                media: PSEUDO_MEDIA.to_owned(),
                mid: stream.mid.clone(),
                credentials: stream.credentials.clone(),
                candidates: stream.candidates.clone(),
                end_of_candidates: stream.end_of_candidates,
            })
            .collect();
        Self { bundle: description.bundle.clone(), sections, ..Self::default() }
    }

    /// Reads a fragment, with line ends of either sort. The same as [`str::parse`].
    ///
    /// # Errors
    ///
    /// The first line at fault, as for [`Description::parse`].
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut body = Body::read(text)?;
        let sections =
            body.sections.iter_mut().map(|level| section(level, &body.session)).collect();
        Ok(Self {
            lite: body.lite,
            pacing: body.pacing.filter(|_| !body.lite),
            credentials: body.session.credentials(&Level::default()),
            end_of_candidates: body.session.end_of_candidates,
            options: body.session.options.unwrap_or_default(),
            bundle: body.bundle,
            sections,
        })
    }

    /// Returns the generation that a section of this fragment belongs to. [rfc8838-9-p2]
    /// [rfc8838-13-1]
    #[must_use]
    pub fn generation<'a>(&'a self, section: &'a FragmentSection) -> Option<&'a Credentials> {
        section.credentials.as_ref().or(self.credentials.as_ref())
    }

    /// Returns the sections of the generation that `current` are the credentials of; all others
    /// are to be dropped. [rfc8840-4.4-9]
    pub fn sections_of<'a>(
        &'a self,
        current: &'a Credentials,
    ) -> impl Iterator<Item = &'a FragmentSection> {
        self.sections.iter().filter(move |section| self.generation(section) == Some(current))
    }

    /// Returns whether no further candidates will come for the stream of a section.
    /// [rfc8840-4.4-p2]
    #[must_use]
    pub fn ends(&self, section: &FragmentSection) -> bool {
        self.end_of_candidates || section.end_of_candidates
    }
}

/// Reads a section; what its pseudo `m=` line says is kept but not looked at. [rfc8840-4.4-2]
fn section(level: &mut Level<'_>, session: &Level<'_>) -> FragmentSection {
    let own = level.ufrag.is_some() || level.password.is_some();
    FragmentSection {
        media: if is_line(level.media) { level.media } else { PSEUDO_MEDIA }.to_owned(),
        mid: level.mid.map(str::to_owned),
        credentials: if own { level.credentials(session) } else { None },
        candidates: take(&mut level.candidates),
        end_of_candidates: level.end_of_candidates,
    }
}

impl FromStr for Fragment {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text)
    }
}

impl fmt::Display for Fragment {
    /// Writes the body, with small letters and the line end CRLF. Credentials stand at the level
    /// where they are in the fragment. [rfc8840-9.2-1a] [rfc8840-9.2-2] [rfc8840-4.4-10] A mid
    /// stands directly before its candidates. [rfc8840-4.4-7]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        let out = &mut text;
        write_session(out, self.lite, &self.options, self.pacing, &self.bundle);
        write_credentials(out, self.credentials.as_ref());
        if self.end_of_candidates {
            line(out, "a=end-of-candidates");
        }
        for section in &self.sections {
            let media = if is_line(&section.media) { &section.media } else { PSEUDO_MEDIA };
            line(out, format_args!("m={media}"));
            write_credentials(out, section.credentials.as_ref());
            if let Some(mid) = section.mid.as_ref().filter(|mid| is_word(mid)) {
                line(out, format_args!("a=mid:{mid}"));
            }
            write_candidates(out, &section.candidates);
            if section.end_of_candidates {
                line(out, "a=end-of-candidates");
            }
        }
        f.write_str(&text)
    }
}
