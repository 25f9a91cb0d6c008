//! Which pairs are nominated.

use core::time::Duration;
use std::collections::BTreeMap;

use floe::{ComponentId, Instant};

use crate::world::guard::Path;

/// I-8: without renomination a component has one nominated pair in a generation: where USE-CANDIDATE
/// was answered, no other pair of the component is nominated. [rfc8445-8.1.1-3]
///
/// With renomination each nomination has a number, and the last one counts; such are not looked at.
/// An answer that comes once another pair is being nominated is of a check that was given up, and so
/// is one that comes a moment before: by the letter the other one's check waits for its turn.
#[derive(Debug, Default)]
pub(super) struct Nominations(BTreeMap<(String, ComponentId), Nominee>);

#[derive(Debug)]
struct Nominee {
    path: Path,
    confirmed: Option<Instant>,
}

/// How long a check may wait for its turn: others that are triggered go first.
const TURN: Duration = Duration::from_millis(500);

impl Nominations {
    pub(super) fn nominates(
        &mut self,
        now: Instant,
        generation: &str,
        component: ComponentId,
        path: Path,
    ) {
        let begun = Nominee { path, confirmed: None };
        let nominee = self.0.entry((generation.to_owned(), component)).or_insert(begun);
        let first = nominee.path;
        if first != path {
            let late = |at: Instant| now.since(at) <= TURN;
            let kept = nominee.confirmed.is_none_or(late);
            assert!(kept, "I-8: {path:?} is nominated after {first:?}");
            *nominee = Nominee { path, confirmed: None };
        }
    }

    pub(super) fn is_confirmed(
        &mut self,
        now: Instant,
        generation: &str,
        component: ComponentId,
        path: Path,
    ) {
        let nominee = self.0.get_mut(&(generation.to_owned(), component));
        if let Some(nominee) = nominee.filter(|nominee| nominee.path == path) {
            nominee.confirmed.get_or_insert(now);
        }
    }
}
