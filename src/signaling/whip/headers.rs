//! Header fields that WHIP reads and writes. [RFC 9110] [RFC 8288]

use core::time::Duration;

use http::header::{CONTENT_TYPE, ETAG, HeaderMap, IF_MATCH, LINK, RETRY_AFTER};

use super::IceServer;

/// The longest entity tag, octets.
const MAX_TAG: usize = 512;
/// The most servers that are taken from one answer.
const MAX_SERVERS: usize = 32;

/// Whether the body is of a media type, whatever its parameters.
pub(super) fn is_type(headers: &HeaderMap, wanted: &str) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = value.and_then(|value| value.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case(wanted))
}

/// Returns the strong entity tag, with its quotes; a weak one matches nothing and is none.
pub(super) fn etag(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(ETAG)?.to_str().ok()?.trim();
    is_strong(value).then(|| value.to_owned())
}

fn is_strong(tag: &str) -> bool {
    let inner = tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let visible = |inner: &str| inner.bytes().all(|o| o.is_ascii_graphic() && o != b'"');
    tag.len() <= MAX_TAG && inner.is_some_and(visible)
}

/// Returns how long to wait, if it is given in seconds; a date needs a clock that we have not.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// What a request asks of the entity tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum IfMatch {
    /// Nothing was said.
    Missing,
    /// `*`: whatever it is.
    Any,
    /// One of these strong ones.
    Tags(Vec<String>),
}

impl IfMatch {
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let mut tags = Vec::new();
        let mut missing = true;
        for value in headers.get_all(IF_MATCH).iter().filter_map(|value| value.to_str().ok()) {
            missing = false;
            for word in split(value, ',') {
                match word.trim() {
                    "*" => return Self::Any,
                    tag if is_strong(tag) => tags.push(tag.to_owned()),
                    _ => {}
                }
            }
        }
        if missing { Self::Missing } else { Self::Tags(tags) }
    }
}

/// Cuts a value where `separator` stands outside of quotes and angle brackets.
fn split(value: &str, separator: char) -> Vec<&str> {
    let (mut quoted, mut escaped, mut bracketed, mut start) = (false, false, false, 0);
    let mut parts = Vec::new();
    for (at, character) in value.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' if !bracketed => quoted = !quoted,
            '<' if !quoted => bracketed = true,
            '>' if !quoted => bracketed = false,
            _ if character == separator && !quoted && !bracketed => {
                parts.extend(value.get(start..at));
                start = at + character.len_utf8();
            }
            _ => {}
        }
    }
    parts.extend(value.get(start..));
    parts
}

/// Reads the servers of `Link` fields; links of other relations are ignored. [rfc9725-4.6-p1]
/// [rfc9725-4.9-3a]
pub(super) fn ice_servers(headers: &HeaderMap) -> Vec<IceServer> {
    let values = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    let links = values.flat_map(|value| split(value, ','));
    links.filter_map(ice_server).take(MAX_SERVERS).collect()
}

fn ice_server(link: &str) -> Option<IceServer> {
    let mut parts = split(link, ';').into_iter().map(str::trim);
    let url = parts.next()?.strip_prefix('<')?.strip_suffix('>')?.trim();
    let scheme = url.split(':').next()?.to_ascii_lowercase();
    if !["stun", "stuns", "turn", "turns"].contains(&scheme.as_str()) {
        return None;
    }
    let (mut rel, mut username, mut credential) = (None, None, None);
    for part in parts {
        let Some((name, value)) = part.split_once('=') else { continue };
        let value = unquoted(value.trim());
        let place = match name.trim().to_ascii_lowercase().as_str() {
            "rel" => &mut rel,
            "username" => &mut username,
            "credential" => &mut credential,
            _ => continue,
        };
        // The first of a name counts. [RFC 8288 §3.3]
        place.get_or_insert(value);
    }
    let is_server = rel?.split_ascii_whitespace().any(|r| r.eq_ignore_ascii_case("ice-server"));
    is_server.then(|| IceServer { url: url.to_owned(), username, credential })
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        text.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    text
}

fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Writes a server as the value of a `Link` field. [rfc9725-4.6-p1]
pub(super) fn link(server: &IceServer) -> String {
    let mut text = format!("<{}>; rel=\"ice-server\"", server.url);
    for (name, value) in [("username", &server.username), ("credential", &server.credential)] {
        if let Some(value) = value {
            text.push_str(&format!("; {name}={}", quoted(value)));
        }
    }
    text
}
