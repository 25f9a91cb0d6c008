//! Writes a description.

use core::fmt::{self, Display, Write as _};
use core::time::Duration;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::candidate::{Candidate, CandidateKind, Credentials};
use crate::net::Protocol;

use super::credentials::is_visible;
use super::line::PORT_DISCARD;
use super::{Description, IceOptions, SessionTemplate, StreamDescription};

/// A default destination that says "ask the candidates". [rfc8840-4.1.1-2] [rfc8840-4.1.1-3]
/// [rfc8840-4.1.3-2] [rfc8840-4.1.3-3] [rfc8840-4-3]
const PLACEHOLDER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT_DISCARD);

impl Description {
    /// Writes a whole, minimal SDP body around the ICE attributes.
    ///
    /// Options stand at the level of the session, so that they hold for every stream
    /// [rfc8838-3-3a] [rfc8838-3-3b]; credentials at the level of each section, which always has
    /// a `mid` [rfc8840-4.1.1-5b] [rfc8840-4.1.3-5b]: the number of the stream if it has none.
    /// There is never an `a=rtcp` line [rfc8840-4.1.1-4] [rfc8840-4.1.3-4]. A lite side proposes
    /// no pacing [rfc8839-4.3.1-4] [rfc8839-4.3.2-4]. A rejected stream has port 0 and no ICE
    /// attributes [rfc8839-4.4.1.1.2-1a] [rfc8839-4.4.1.1.2-1b] [rfc8839-4.2.1.6-2], a stream
    /// with `mismatch` has no candidates [rfc8839-4.2.5-3a].
    ///
    /// `c=` and `m=` hold [`StreamDescription::default_destination`]; without it the default
    /// candidate, or 0.0.0.0 port 9 if there is none or candidates are trickled.
    /// [rfc8839-4.2.1-p1] [rfc8839-4.4.1.2.1-4]
    ///
    /// No field can break out of its line: what does not fit the grammar is left out.
    #[must_use]
    pub fn to_sdp(&self, template: &SessionTemplate) -> String {
        let mut sdp = String::with_capacity(256 + 128 * self.candidate_count());
        let out = &mut sdp;
        let SessionTemplate { session_id, version, .. } = template;
        line(out, format_args!("v=0"));
        line(out, format_args!("o=- {session_id} {version} IN IP4 127.0.0.1"));
        line(out, format_args!("s=-"));
        line(out, format_args!("t=0 0"));
        write_session(out, self.lite, &self.options, self.pacing, &self.bundle);
        let mids = self.streams.iter().filter_map(|stream| stream.mid.as_deref());
        let taken: BTreeSet<&str> = mids.collect();
        for (index, stream) in self.streams.iter().enumerate() {
            self.write_stream(out, &mid(index, stream, &taken), stream, template);
        }
        sdp
    }

    fn candidate_count(&self) -> usize {
        self.streams.iter().map(|stream| stream.candidates.len()).sum()
    }

    fn write_stream(
        &self,
        out: &mut String,
        mid: &str,
        stream: &StreamDescription,
        template: &SessionTemplate,
    ) {
        let default = match stream.default_destination {
            _ if stream.rejected => PLACEHOLDER,
            Some(address) if address.port() == 0 => PLACEHOLDER,
            Some(address) => address,
            None if self.options.trickle || stream.mismatch => PLACEHOLDER,
            None => default_candidate(&stream.candidates).unwrap_or(PLACEHOLDER),
        };
        let port = if stream.rejected { 0 } else { default.port() };
        let media = if is_line(&template.media) {
            template.media.clone()
        } else {
            SessionTemplate::default().media
        };
        line(out, format_args!("m={}", media.replace("{port}", &port.to_string())));
        let family = if default.is_ipv4() { "IP4" } else { "IP6" };
        line(out, format_args!("c=IN {family} {}", default.ip()));
        line(out, format_args!("a=mid:{mid}"));
        if !stream.rejected {
            write_ice(out, stream);
        }
        for attribute in template.attributes.iter().filter(|attribute| is_line(attribute)) {
            line(out, attribute);
        }
    }
}

/// Returns the mid of a stream: its own, or its number, made unlike all others.
fn mid(index: usize, stream: &StreamDescription, taken: &BTreeSet<&str>) -> String {
    if let Some(mid) = stream.mid.as_ref().filter(|mid| is_word(mid)) {
        return mid.clone();
    }
    let mut mid = index.to_string();
    while taken.contains(mid.as_str()) {
        mid.insert(0, '_');
    }
    mid
}

/// Writes the ICE attributes of a section. A section that is inactive or has no bandwidth has
/// them as well. [rfc8839-4.2.1.6-1] The end of candidates stands by the credentials of its
/// generation. [rfc8840-8.2-1] [rfc8840-8.2-2]
fn write_ice(out: &mut String, stream: &StreamDescription) {
    write_credentials(out, stream.credentials.as_ref());
    if stream.mismatch {
        line(out, format_args!("a=ice-mismatch"));
        return;
    }
    write_candidates(out, &stream.candidates);
    if !stream.remote_candidates.is_empty() {
        out.push_str("a=remote-candidates:");
        for (index, (component, address)) in stream.remote_candidates.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            let (ip, port) = (address.ip(), address.port());
            let _ = write!(out, "{space}{component} {ip} {port}");
        }
        out.push_str("\r\n");
    }
    if stream.end_of_candidates {
        line(out, format_args!("a=end-of-candidates"));
    }
}

/// Writes the attributes of the session that bodies and fragments share. [rfc8839-4.2.1.4-1]
/// [rfc8839-4.2.1.4-2]
pub(super) fn write_session(
    out: &mut String,
    lite: bool,
    options: &IceOptions,
    pacing: Option<Duration>,
    bundle: &[String],
) {
    if lite {
        line(out, format_args!("a=ice-lite"));
    }
    let options = options.to_string();
    if !options.is_empty() {
        line(out, format_args!("a=ice-options:{options}"));
    }
    if let Some(pacing) = pacing.filter(|_| !lite) {
        let milliseconds = pacing.as_micros().div_ceil(1000).min(9_999_999_999);
        line(out, format_args!("a=ice-pacing:{milliseconds}"));
    }
    if !bundle.is_empty() {
        out.push_str("a=group:BUNDLE");
        for mid in bundle.iter().filter(|mid| is_word(mid)) {
            out.push(' ');
            out.push_str(mid);
        }
        out.push_str("\r\n");
    }
}

/// Writes ufrag and password, if a peer could read them.
pub(super) fn write_credentials(out: &mut String, credentials: Option<&Credentials>) {
    if let Some(Credentials { ufrag, password }) = credentials.filter(|c| c.is_readable()) {
        line(out, format_args!("a=ice-ufrag:{ufrag}"));
        line(out, format_args!("a=ice-pwd:{password}"));
    }
}

/// Writes all candidates, in their order. [rfc8839-4.3.1-1] [rfc8839-4.3.2-1] [rfc8840-4.1.1-1]
/// [rfc8840-4.1.3-1]
pub(super) fn write_candidates(out: &mut String, candidates: &[Candidate]) {
    for candidate in candidates {
        line(out, format_args!("a={candidate}"));
    }
}

/// Writes a line and its end. Writing to a string does not fail.
pub(super) fn line(out: &mut String, text: impl Display) {
    let _ = write!(out, "{text}\r\n");
}

/// Returns whether the text is something and stays on one line.
pub(super) fn is_line(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

/// Returns whether the text is one word of visible characters.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty() && is_visible(text)
}

/// Returns the address of the default candidate: the one most likely to work without ICE, a
/// relayed one before a reflexive one before a host one. It is of UDP, as the `m=` lines are, and
/// of the first component; a name is none. [mdns-ice-candidates-3.1.2.4-2]
/// [mdns-ice-candidates-3.1.2.4-3] [rfc8839-4.3.2-6] [rfc6544-4.3-1] [rfc6544-4.3-2]
fn default_candidate(candidates: &[Candidate]) -> Option<SocketAddr> {
    candidates
        .iter()
        .filter(|candidate| candidate.component == 1 && candidate.protocol == Protocol::Udp)
        .filter_map(|candidate| Some((candidate, candidate.socket_address()?)))
        // Port 0 would say that the stream is rejected.
        .filter(|(_, address)| address.port() != 0)
        .max_by_key(|(candidate, _)| {
            let reach = match candidate.kind {
                CandidateKind::Host => 0_u8,
                CandidateKind::PeerReflexive | CandidateKind::ServerReflexive => 1,
                CandidateKind::Relayed => 2,
            };
            (reach, candidate.priority)
        })
        .map(|(_, address)| address)
}

impl Display for IceOptions {
    /// Writes the options with a space between them, as in `ice2 trickle`; nothing if there are
    /// none. [rfc8839-5.6-p1]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags =
            [("ice2", self.ice2), ("trickle", self.trickle), ("renomination", self.renomination)];
        let known = flags.iter().filter(|(_, on)| *on).map(|(word, _)| *word);
        let other = self.other.iter().map(String::as_str).filter(|word| is_word(word));
        for (index, word) in known.chain(other).enumerate() {
            f.write_str(if index == 0 { "" } else { " " })?;
            f.write_str(word)?;
        }
        Ok(())
    }
}
