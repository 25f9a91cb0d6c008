//! The scenarios that a fuzzer made, played again.

use std::fs;
use std::path::PathBuf;

use crate::scenario;

#[test]
fn the_worlds_of_the_fuzzer_keep_every_promise() {
    let mut count = 0;
    for kind in ["fuzz/seeds/world", "fuzz/kept/world"] {
        let inputs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(kind);
        // What is kept may be nothing; there are seeds.
        for entry in fs::read_dir(inputs).into_iter().flatten() {
            let path = entry.unwrap().path();
            // Which one it was that a panic came of.
            println!("{}", path.display());
            scenario::run_octets(&fs::read(path).unwrap());
            count += 1;
        }
    }
    assert!(count > 0, "there are no seeds");
}
