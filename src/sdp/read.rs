//! Reads a description.

use core::mem::take;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::body::{Body, Level, MAX_OPTIONS};
use super::error::{ParseError, ParseErrorKind};
use super::line::{self, PORT_DISCARD};
use super::{Description, IceOptions, StreamDescription};

impl Description {
    /// Reads an SDP body, with line ends of either sort.
    ///
    /// What stands at the level of a section goes before what stands at the level of the
    /// session. [rfc8839-5.4-1] An option counts if the session lists it or every section that
    /// has ICE attributes does. [rfc8838-3-3a] A section that is rejected or marked
    /// `ice-mismatch` has no candidates, whatever it lists. [rfc8839-5.3-1a]
    ///
    /// # Errors
    ///
    /// The first line at fault and what is wrong with it. Candidates of an unknown sort are no
    /// fault, damaged candidate lines are: see the [module](crate::sdp).
    pub fn parse(sdp: &str) -> Result<Self, ParseError> {
        if let Some((number, line)) = (1..).zip(sdp.lines()).find(|(_, line)| !line.is_empty())
            && !line.starts_with("v=")
        {
            return Err(ParseError { line: number, kind: ParseErrorKind::NotSdp });
        }
        let mut body = Body::read(sdp)?;
        if sdp.trim().is_empty() {
            return Err(ParseError { line: 1, kind: ParseErrorKind::NotSdp });
        }
        let mut streams = Vec::with_capacity(body.sections.len());
        for section in &mut body.sections {
            streams.push(stream(section, &body.session)?);
        }
        check_passwords(&body, &streams)?;
        Ok(Self {
            lite: body.lite,
            options: common_options(&body, &streams),
            // A lite side makes no checks to pace. [rfc8839-4.3.1-4] [rfc8839-4.3.2-4]
            pacing: body.pacing.filter(|_| !body.lite),
            streams,
            bundle: body.bundle,
        })
    }
}

/// Makes what a section says, of its lines.
fn stream(section: &mut Level<'_>, session: &Level<'_>) -> Result<StreamDescription, ParseError> {
    let kind = ParseErrorKind::Media;
    let port = media_port(section.media).ok_or(ParseError { line: section.line, kind })?;
    let mid = section.mid.map(str::to_owned);
    if port == 0 && !section.bundle_only {
        return Ok(StreamDescription { mid, rejected: true, ..StreamDescription::default() });
    }
    let ice = !section.mismatch;
    Ok(StreamDescription {
        mid,
        credentials: section.credentials(session),
        candidates: if ice { take(&mut section.candidates) } else { Vec::new() },
        end_of_candidates: ice && (section.end_of_candidates || session.end_of_candidates),
        remote_candidates: if ice { take(&mut section.remote_candidates) } else { Vec::new() },
        mismatch: section.mismatch,
        rejected: false,
        default_destination: section
            .connection
            .or(session.connection)
            .flatten()
            .map(|ip| SocketAddr::new(ip, port))
            .filter(|address| !is_placeholder(*address)),
    })
}

/// Returns the port of an `m=` line, which may be followed by a number of ports.
fn media_port(media: &str) -> Option<u16> {
    let word = media.split(' ').nth(1)?;
    line::port(word.split_once('/').map_or(word, |(port, _)| port))
}

/// Returns whether a default destination says "ask the candidates". Port 0 is that of a section
/// that goes with another. [rfc8839-4.2.5-4a]
fn is_placeholder(address: SocketAddr) -> bool {
    address.port() == 0 || (address.ip().is_unspecified() && address.port() == PORT_DISCARD)
}

/// Checks that one ufrag has one password. [rfc8839-5.4-2]
fn check_passwords(body: &Body<'_>, streams: &[StreamDescription]) -> Result<(), ParseError> {
    let mut passwords = BTreeMap::new();
    for (section, stream) in body.sections.iter().zip(streams) {
        let Some(credentials) = &stream.credentials else { continue };
        let password = credentials.password.as_str();
        if *passwords.entry(credentials.ufrag.as_str()).or_insert(password) != password {
            let kind = ParseErrorKind::PasswordsDiffer;
            return Err(ParseError { line: section.line, kind });
        }
    }
    Ok(())
}

/// Returns the options that hold for every stream. [rfc8839-5.6-p1] [rfc8838-3-3b]
fn common_options(body: &Body<'_>, streams: &[StreamDescription]) -> IceOptions {
    let mut options = body.session.options.clone().unwrap_or_default();
    let empty = IceOptions::default();
    let sections: Vec<&IceOptions> = body
        .sections
        .iter()
        .zip(streams)
        .filter(|(section, stream)| section.has_ice && !stream.rejected)
        .map(|(section, _)| section.options.as_ref().unwrap_or(&empty))
        .collect();
    let Some(first) = sections.first() else { return options };
    let every = |has: fn(&IceOptions) -> bool| sections.iter().all(|options| has(options));
    options.ice2 |= every(|options| options.ice2);
    options.trickle |= every(|options| options.trickle);
    options.renomination |= every(|options| options.renomination);
    for option in &first.other {
        let new = options.other.len() < MAX_OPTIONS && !options.other.contains(option);
        if new && sections.iter().all(|options| options.other.contains(option)) {
            options.other.push(option.clone());
        }
    }
    options
}
