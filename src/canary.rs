//! Bugs that others had, to be planted again: a proof that the tests would find them here.
//!
//! Without the feature `canary` none is, and `planted` is a constant. With it the tests plant one
//! at a time, for their own thread alone.
#![cfg_attr(
    not(feature = "canary"),
    allow(unreachable_pub, dead_code, reason = "seen from outside with the feature alone")
)]

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bug {
    /// A nomination by the peer makes a pair valid, though we have no answer from there.
    DataBeforeAnswer,
    /// Application data from anywhere is taken for that of a known path.
    AddressFromData,
    /// Any response renews consent, whatever it answers.
    StrayAnswerIsConsent,
    /// Each check of the peer's triggers another one of ours, for ever.
    PingPong,
    /// Attributes after the integrity count.
    AfterIntegrity,
    /// An empty address attribute is read all the same.
    EmptyAddress,
    /// The length of a message in a stream wraps at 16 bits.
    FrameLengthWraps,
    /// When candidates are forgotten, pairs keep the places that theirs had.
    StalePlace,
    /// A peer-reflexive candidate loses its nomination and consent when it is signalled.
    RelabelForgets,
    /// The deadline does not tell of answers that are owed.
    DeadlineForgetsReplies,
    /// The deadline stays where it was when it has passed.
    DeadlineStays,
    /// Peer-reflexive candidates have no bound.
    EndlessChain,
    /// Consent counts seconds in 16 bits.
    SecondsWrap,
}

/// Whether a bug is planted: never.
#[cfg(not(feature = "canary"))]
pub(crate) const fn planted(_: Bug) -> bool {
    false
}

#[cfg(feature = "canary")]
std::thread_local! {
    static PLANTED: core::cell::Cell<Option<Bug>> = const { core::cell::Cell::new(None) };
}

/// Whether a bug is planted for this thread.
#[cfg(feature = "canary")]
pub(crate) fn planted(bug: Bug) -> bool {
    PLANTED.with(|planted| planted.get() == Some(bug))
}

/// Plants a bug for this thread, or none.
#[cfg(feature = "canary")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.with(|planted| planted.set(bug));
}
