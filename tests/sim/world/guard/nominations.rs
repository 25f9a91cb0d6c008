//! Which pairs are nominated.

use std::collections::BTreeMap;

use floe::ComponentId;

use crate::world::guard::Path;

/// I-8: without renomination a component has one nominated pair in a generation: where USE-CANDIDATE
/// was answered, no other pair of the component is nominated. [rfc8445-8.1.1-3]
///
/// With renomination each nomination has a number, and the last one counts; such are not looked at.
/// An answer that comes once another pair is being nominated is of a check that was given up.
#[derive(Debug, Default)]
pub(super) struct Nominations(BTreeMap<(String, ComponentId), Nominee>);

#[derive(Debug)]
struct Nominee {
    path: Path,
    confirmed: bool,
}

impl Nominations {
    pub(super) fn nominates(&mut self, generation: &str, component: ComponentId, path: Path) {
        let begun = Nominee { path, confirmed: false };
        let nominee = self.0.entry((generation.to_owned(), component)).or_insert(begun);
        let first = nominee.path;
        assert!(first == path || !nominee.confirmed, "I-8: {path:?} is nominated after {first:?}");
        nominee.path = path;
    }

    pub(super) fn is_confirmed(&mut self, generation: &str, component: ComponentId, path: Path) {
        let nominee = self.0.get_mut(&(generation.to_owned(), component));
        if let Some(nominee) = nominee.filter(|nominee| nominee.path == path) {
            nominee.confirmed = true;
        }
    }
}
