//! Claims about the texts: candidates, descriptions, fragments, signals.

use floe::candidate::Candidate;
use floe::sdp::{Description, Fragment, SessionTemplate};
use floe::signaling::Signal;

/// A candidate line that is read, written and read again is the same.
pub fn candidate_line(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    let Ok(candidate) = text.parse::<Candidate>() else { return };
    let line = candidate.to_string();
    assert!(!line.contains(['\r', '\n']), "a candidate on two lines: {line:?}");
    assert_eq!(line.parse(), Ok(candidate));
}

/// A description that is read, written and read again is the same, but that the writer fills in
/// a mid and a default destination where there was none.
pub fn sdp(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    let Ok(mut expected) = Description::parse(text) else { return };
    let sdp = expected.to_sdp(&SessionTemplate::default());
    let again = Description::parse(&sdp);
    let again = again.unwrap_or_else(|error| panic!("{error} in what was written: {sdp}"));
    for (stream, again) in expected.streams.iter_mut().zip(&again.streams) {
        stream.mid = stream.mid.take().or_else(|| again.mid.clone());
        stream.default_destination = stream.default_destination.or(again.default_destination);
    }
    assert_eq!(again, expected);
    assert_eq!(again.to_sdp(&SessionTemplate::default()), sdp);
}

/// A fragment that is read, written and read again is the same.
pub fn sdpfrag(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    let Ok(fragment) = text.parse::<Fragment>() else { return };
    assert_eq!(fragment.to_string().parse(), Ok(fragment));
}

/// A signal that is read, written and read again is the same.
pub fn signal_json(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    let Ok(signal) = Signal::from_json(text) else { return };
    let json = signal.to_json();
    assert!(!json.contains('\n'), "a signal on two lines: {json:?}");
    assert_eq!(Signal::from_json(&json).as_ref(), Ok(&signal));
}
