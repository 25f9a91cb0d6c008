//! The messages of clients and servers as JSON.

use serde_json::{Map, Value, json};

use super::{Refusal, Side, Signal, SignalError};
use crate::signaling::json::{object, string};

/// Where a client goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) session: String,
    pub(super) received: u64,
}

/// What a client says.
#[derive(Debug)]
pub(super) enum FromMember {
    Join {
        member: String,
        claim: Option<Claim>,
    },
    Leave,
    /// A signal, and the session that it is of.
    Signal(Signal, Option<String>),
}

/// What a server says beside signals.
#[derive(Debug)]
pub(super) enum FromServer {
    Joined,
    Peer { session: String, side: Side, received: u64 },
    Away,
    Back,
    Left,
    Error { code: String, sentence: String },
    Signal(Signal),
}

/// The longest name of a session.
const MAX_SESSION: usize = 64;

impl FromMember {
    pub(super) fn read(text: &str) -> Result<Self, SignalError> {
        let object = object(text)?;
        match object.get("type").and_then(Value::as_str) {
            Some("join") => {
                let member = string(&object, "member")?.to_owned();
                let claim = match object.get("session") {
                    None | Some(Value::Null) => None,
                    Some(_) => Some(Claim {
                        session: session(&object)?,
                        received: number(&object, "received")?,
                    }),
                };
                Ok(Self::Join { member, claim })
            }
            Some("leave") => Ok(Self::Leave),
            Some(_) | None => {
                let signal = Signal::from_object(&object)?;
                let named = object.contains_key("session").then(|| session(&object)).transpose()?;
                Ok(Self::Signal(signal, named))
            }
        }
    }

    pub(super) fn signal(signal: &Signal, session: &str) -> String {
        let mut signal = serde_json::to_value(signal).unwrap_or_default();
        if let Some(object) = signal.as_object_mut() {
            object.insert("session".into(), session.into());
        }
        signal.to_string()
    }

    pub(super) fn join(member: &str, claim: Option<Claim>) -> String {
        let mut join = json!({ "type": "join", "member": member });
        if let (Some(Claim { session, received }), Some(join)) = (claim, join.as_object_mut()) {
            join.insert("session".into(), session.into());
            join.insert("received".into(), received.into());
        }
        join.to_string()
    }

    pub(super) fn leave() -> String {
        json!({ "type": "leave" }).to_string()
    }
}

impl FromServer {
    pub(super) fn read(text: &str) -> Result<Self, SignalError> {
        let object = object(text)?;
        match object.get("type").and_then(Value::as_str) {
            Some("joined") => Ok(Self::Joined),
            Some("peer") => {
                let offers = object.get("offers").and_then(Value::as_bool);
                let wanted = SignalError::WrongType { member: "offers", wanted: "true or false" };
                Ok(Self::Peer {
                    session: session(&object)?,
                    side: if offers.ok_or(wanted)? { Side::Offerer } else { Side::Answerer },
                    received: number(&object, "received")?,
                })
            }
            Some("away") => Ok(Self::Away),
            Some("back") => Ok(Self::Back),
            Some("left") => Ok(Self::Left),
            Some("error") => Ok(Self::Error {
                code: string(&object, "code")?.to_owned(),
                sentence: string(&object, "error")?.to_owned(),
            }),
            Some(_) | None => Signal::from_object(&object).map(Self::Signal),
        }
    }

    pub(super) fn write(&self) -> String {
        match self {
            Self::Joined => json!({ "type": "joined" }),
            Self::Peer { session, side, received } => {
                let offers = *side == Side::Offerer;
                json!({ "type": "peer", "session": session, "offers": offers, "received": received })
            }
            Self::Away => json!({ "type": "away" }),
            Self::Back => json!({ "type": "back" }),
            Self::Left => json!({ "type": "left" }),
            Self::Error { code, sentence } => {
                json!({ "type": "error", "code": code, "error": sentence })
            }
            Self::Signal(signal) => return signal.to_json(),
        }
        .to_string()
    }
}

impl From<Refusal> for FromServer {
    fn from(refusal: Refusal) -> Self {
        Self::Error { code: refusal.code().into(), sentence: refusal.to_string() }
    }
}

fn session(object: &Map<String, Value>) -> Result<String, SignalError> {
    let name = string(object, "session")?;
    let wanted = "at most 64 visible characters";
    let fits = name.len() <= MAX_SESSION && name.bytes().all(|octet| octet.is_ascii_graphic());
    if fits { Ok(name.into()) } else { Err(SignalError::WrongType { member: "session", wanted }) }
}

fn number(object: &Map<String, Value>, member: &'static str) -> Result<u64, SignalError> {
    let value = object.get(member).ok_or(SignalError::Missing { member })?;
    value.as_u64().ok_or(SignalError::WrongType { member, wanted: "a number" })
}
