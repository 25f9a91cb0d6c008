//! Names and versions, as the manifests have them.

const OURS: &str = include_str!("../../Cargo.toml");
const FLOE: &str = include_str!("../../../../Cargo.toml");

/// The name and version of a library that is pinned in our manifest.
pub fn pinned(library: &str) -> String {
    format!("{library} {}", value(OURS, library).trim_start_matches('='))
}

/// The name and version of floe.
pub fn floe() -> String {
    format!("floe {}", value(FLOE, "version"))
}

/// The text that the first line `key = "text"` gives.
fn value<'a>(manifest: &'a str, key: &str) -> &'a str {
    let of_key = |line: &'a str| line.strip_prefix(key)?.trim_start().strip_prefix('=');
    let line = manifest.lines().find_map(of_key).unwrap_or_default();
    line.trim().trim_matches('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_library_has_a_version() {
        let pinned = ["is", "rice-proto", "rtc-ice", "webrtc-ice"].map(pinned);
        for version in pinned.into_iter().chain([floe()]) {
            let (_, number) = version.split_once(' ').expect("a name and a version");
            assert_eq!(number.split('.').filter(|part| part.parse::<u16>().is_ok()).count(), 3);
        }
    }
}
