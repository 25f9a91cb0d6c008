//! Which pairs are nominated.

use std::collections::BTreeMap;

use floe::ComponentId;

use crate::world::guard::Path;

/// I-8: without renomination a component has one nominated pair in a generation: where USE-CANDIDATE
/// was answered, no other pair of the component is nominated. [rfc8445-8.1.1-3]
///
/// With renomination each nomination has a number, and the last one counts; such are not looked at.
#[derive(Debug, Default)]
pub(super) struct Nominations(BTreeMap<(String, ComponentId), Path>);

impl Nominations {
    pub(super) fn nominates(&self, generation: &str, component: ComponentId, path: Path) {
        if let Some(first) = self.0.get(&(generation.to_owned(), component)) {
            assert!(*first == path, "I-8: {path:?} is nominated after {first:?}");
        }
    }

    pub(super) fn is_confirmed(&mut self, generation: &str, component: ComponentId, path: Path) {
        self.0.entry((generation.to_owned(), component)).or_insert(path);
    }
}
