//! Signals as the JSON that browsers exchange.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::{CandidateInit, MAX_SIGNAL, Signal, SignalError};

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Wire<'a> {
    Offer { sdp: &'a str },
    Answer { sdp: &'a str },
    Candidate { candidate: WireCandidate<'a> },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireCandidate<'a> {
    candidate: &'a str,
    sdp_mid: Option<&'a str>,
    sdp_m_line_index: Option<u16>,
    username_fragment: Option<&'a str>,
}

impl Serialize for Signal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Offer { sdp } => Wire::Offer { sdp },
            Self::Answer { sdp } => Wire::Answer { sdp },
            Self::Candidate(init) => Wire::Candidate {
                candidate: WireCandidate {
                    candidate: &init.candidate,
                    sdp_mid: init.sdp_mid.as_deref(),
                    sdp_m_line_index: init.sdp_m_line_index,
                    username_fragment: init.username_fragment.as_deref(),
                },
            },
        }
        .serialize(serializer)
    }
}

impl Signal {
    /// Writes the signal as one line of JSON, without the line break.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a signal from JSON text. Members that are not known are ignored; `sdpMid`,
    /// `sdpMLineIndex` and `usernameFragment` may be null or missing; a candidate of `null` is
    /// the end of candidates, as is an empty one.
    ///
    /// # Errors
    ///
    /// A [`SignalError`] that says what to mend.
    pub fn from_json(text: &str) -> Result<Self, SignalError> {
        Self::from_object(&object(text)?)
    }

    /// Reads a signal from a JSON value, for embedding signals in messages of one's own; the
    /// caller bounds its size.
    ///
    /// # Errors
    ///
    /// As [`from_json`](Self::from_json).
    pub fn from_value(value: &Value) -> Result<Self, SignalError> {
        Self::from_object(value.as_object().ok_or(SignalError::NotAnObject)?)
    }

    pub(super) fn from_object(object: &Map<String, Value>) -> Result<Self, SignalError> {
        match string(object, "type")? {
            "offer" => Ok(Self::Offer { sdp: string(object, "sdp")?.to_owned() }),
            "answer" => Ok(Self::Answer { sdp: string(object, "sdp")?.to_owned() }),
            "candidate" => match object.get("candidate") {
                None => Err(SignalError::Missing { member: "candidate" }),
                Some(Value::Null) => Ok(Self::Candidate(CandidateInit::default())),
                Some(Value::Object(inner)) => candidate(inner).map(Self::Candidate),
                Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                    Err(SignalError::WrongType { member: "candidate", wanted: "an object" })
                }
            },
            _ => Err(SignalError::UnknownType),
        }
    }
}

fn candidate(object: &Map<String, Value>) -> Result<CandidateInit, SignalError> {
    let index = match object.get("sdpMLineIndex") {
        None | Some(Value::Null) => None,
        Some(value) => Some(value.as_u64().and_then(|index| u16::try_from(index).ok()).ok_or(
            SignalError::WrongType { member: "sdpMLineIndex", wanted: "a number below 65536" },
        )?),
    };
    Ok(CandidateInit {
        candidate: string(object, "candidate")?.to_owned(),
        sdp_mid: optional(object, "sdpMid")?,
        sdp_m_line_index: index,
        username_fragment: optional(object, "usernameFragment")?,
    })
}

/// Reads a message: an object, no longer than a signal.
pub(super) fn object(text: &str) -> Result<Map<String, Value>, SignalError> {
    if text.len() > MAX_SIGNAL {
        return Err(SignalError::TooLong { max: MAX_SIGNAL });
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(SignalError::NotAnObject),
        Err(error) => Err(SignalError::NotJson { column: error.column() }),
    }
}

pub(super) fn string<'v>(
    object: &'v Map<String, Value>,
    member: &'static str,
) -> Result<&'v str, SignalError> {
    let value = object.get(member).ok_or(SignalError::Missing { member })?;
    value.as_str().ok_or(SignalError::WrongType { member, wanted: "a string" })
}

fn optional(
    object: &Map<String, Value>,
    member: &'static str,
) -> Result<Option<String>, SignalError> {
    match object.get(member) {
        None | Some(Value::Null) => Ok(None),
        Some(_) => string(object, member).map(|text| Some(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_the_form_that_browsers_use() {
        let candidate = Signal::Candidate(CandidateInit {
            candidate: "candidate:1 1 udp 1 192.0.2.1 9 typ host".into(),
            sdp_mid: Some("0".into()),
            sdp_m_line_index: Some(0),
            username_fragment: Some("abcd".into()),
        });
        assert_eq!(
            candidate.to_json(),
            r#"{"type":"candidate","candidate":{"candidate":"candidate:1 1 udp 1 192.0.2.1 9 typ host","sdpMid":"0","sdpMLineIndex":0,"usernameFragment":"abcd"}}"#
        );
        let offer = Signal::Offer { sdp: "v=0\r\n".into() };
        assert_eq!(offer.to_json(), r#"{"type":"offer","sdp":"v=0\r\n"}"#);
        for signal in [candidate, offer, Signal::Answer { sdp: String::new() }] {
            assert_eq!(Signal::from_json(&signal.to_json()), Ok(signal));
        }
    }

    #[test]
    fn null_missing_and_unknown_members_are_fine() {
        let text =
            r#"{"type":"candidate","x":1,"candidate":{"candidate":"","sdpMid":null,"y":[]}}"#;
        let end = Signal::Candidate(CandidateInit::default());
        assert_eq!(Signal::from_json(text), Ok(end.clone()));
        assert_eq!(Signal::from_json(r#"{"type":"candidate","candidate":null}"#), Ok(end));
    }

    #[test]
    fn a_bad_message_says_what_to_mend() {
        use SignalError::{Missing, NotAnObject, NotJson, TooLong, UnknownType, WrongType};
        let long = format!(r#"{{"type":"offer","sdp":"{}"}}"#, "x".repeat(MAX_SIGNAL));
        for (text, error) in [
            (long.as_str(), TooLong { max: MAX_SIGNAL }),
            ("{", NotJson { column: 1 }),
            ("[]", NotAnObject),
            ("{}", Missing { member: "type" }),
            (r#"{"type":"pranswer"}"#, UnknownType),
            (r#"{"type":"offer"}"#, Missing { member: "sdp" }),
            (r#"{"type":"offer","sdp":1}"#, WrongType { member: "sdp", wanted: "a string" }),
            (
                r#"{"type":"candidate","candidate":{"candidate":"","sdpMLineIndex":-1}}"#,
                WrongType { member: "sdpMLineIndex", wanted: "a number below 65536" },
            ),
        ] {
            assert_eq!(Signal::from_json(text), Err(error));
        }
    }
}
