//! URLs of endpoints and sessions, and references to them. [RFC 3986 §5.2]

use std::net::IpAddr;

use http::Uri;

/// The longest URL, octets.
const MAX_URL: usize = 2048;

/// Reads the URL of an endpoint or a session: `http:` or `https:`, with a host, without user
/// information. What follows a `#` is left out.
pub(super) fn parse(text: &str) -> Option<Uri> {
    let text = text.split('#').next().unwrap_or_default();
    if text.len() > MAX_URL || !text.bytes().all(|octet| octet.is_ascii_graphic()) {
        return None;
    }
    let uri: Uri = text.parse().ok()?;
    let host = uri.host().filter(|host| !host.is_empty())?;
    let authority = uri.authority()?.as_str();
    let known = is_https(&uri) || uri.scheme_str() == Some("http");
    (known && !authority.contains('@') && !host.contains('@')).then_some(uri)
}

/// Whether a URL is `https:`.
pub(super) fn is_https(uri: &Uri) -> bool {
    uri.scheme_str() == Some("https")
}

/// Whether what goes to a URL stays on this machine.
pub(super) fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let ip = host.parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.is_loopback())
}

/// Returns the origin of a URL: `scheme://host:port`, in small letters and with the port.
pub(super) fn origin(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or_default();
    let port = uri.port_u16().unwrap_or(if is_https(uri) { 443 } else { 80 });
    format!("{scheme}://{}:{port}", uri.host().unwrap_or_default()).to_ascii_lowercase()
}

/// Resolves a reference against the URL of the request that it answers.
pub(super) fn resolve(base: &Uri, reference: &str) -> Option<Uri> {
    let reference = reference.trim();
    if reference.len() > MAX_URL {
        return None;
    }
    let scheme = reference.split([':', '/', '?', '#']).next().unwrap_or_default();
    let absolute = !scheme.is_empty() && reference.get(scheme.len()..)?.starts_with(':');
    if absolute {
        return parse(reference);
    }
    let scheme = base.scheme_str()?;
    if reference.starts_with("//") {
        return parse(&format!("{scheme}:{reference}"));
    }
    let authority = base.authority()?;
    let (path, query) = match reference.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (reference, None),
    };
    let (path, query) = match path {
        "" => (base.path().to_owned(), query.or(base.query())),
        _ if path.starts_with('/') => (without_dots(path), query),
        _ => {
            let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            (without_dots(&format!("{folder}/{path}")), query)
        }
    };
    let query = query.map_or(String::new(), |query| format!("?{query}"));
    parse(&format!("{scheme}://{authority}{path}{query}"))
}

/// Takes `.` and `..` out of an absolute path. [RFC 3986 §5.2.4]
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    for (index, segment) in segments.iter().enumerate() {
        let last = index + 1 == segments.len();
        match *segment {
            "." => {}
            ".." => drop(kept.pop()),
            other => {
                kept.push(other);
                continue;
            }
        }
        if last {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_resolved_as_rfc_3986_has_it() {
        let base = parse("https://a.test:8443/b/c/d?q").unwrap();
        for (reference, wanted) in [
            ("https://z.test/x", "https://z.test/x"),
            ("HTTPS://z.test/x", "https://z.test/x"),
            ("//z.test/x", "https://z.test/x"),
            ("/x/y", "https://a.test:8443/x/y"),
            ("g", "https://a.test:8443/b/c/g"),
            ("./g?y#z", "https://a.test:8443/b/c/g?y"),
            ("../g", "https://a.test:8443/b/g"),
            ("../../../g", "https://a.test:8443/g"),
            ("g/", "https://a.test:8443/b/c/g/"),
            ("..", "https://a.test:8443/b/"),
            (".", "https://a.test:8443/b/c/"),
            ("?y", "https://a.test:8443/b/c/d?y"),
            ("", "https://a.test:8443/b/c/d?q"),
            ("/./x/../y", "https://a.test:8443/y"),
        ] {
            let resolved = resolve(&base, reference).map(|uri| uri.to_string());
            assert_eq!(resolved.as_deref(), Some(wanted), "{reference}");
        }
        for bad in
            ["ftp://z.test/", "mailto:x", "https://", "https://u:p@z.test/", "/a b", "/\u{e9}"]
        {
            assert_eq!(resolve(&base, bad), None, "{bad}");
        }
        assert_eq!(resolve(&base, &format!("/{}", "x".repeat(3000))), None);
    }

    #[test]
    fn an_origin_has_its_port_and_small_letters() {
        let of = |url: &str| origin(&parse(url).unwrap());
        assert_eq!(of("https://A.test/x"), of("https://a.test:443/y"));
        assert_ne!(of("https://a.test/"), of("http://a.test/"));
        assert_ne!(of("https://a.test/"), of("https://a.test:444/"));
        assert!(is_loopback(&parse("http://[::1]:80/").unwrap()));
        assert!(is_loopback(&parse("http://127.0.0.9/").unwrap()));
        assert!(!is_loopback(&parse("http://127.0.0.9.test/").unwrap()));
    }
}
