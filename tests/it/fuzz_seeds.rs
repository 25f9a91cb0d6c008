//! The seeds of the fuzz targets, replayed.

#[allow(unreachable_pub, dead_code, reason = "a crate of its own, included")]
#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::path::PathBuf;

/// Runs a target over all of its seeds.
fn replay(target: &str, run: fn(&[u8])) {
    let seeds = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut count = 0;
    for entry in fs::read_dir(&seeds).unwrap_or_else(|error| panic!("{target}: {error}")) {
        run(&fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count > 0, "{target} has no seeds");
    run(&[]);
}

macro_rules! replays {
    ($($test:ident: $target:ident),+ $(,)?) => {$(
        #[test]
        fn $test() {
            replay(stringify!($target), targets::$target);
        }
    )+};
}

replays! {
    stun_is_read_or_refused: stun_decode,
    stun_that_is_written_is_read: stun_build,
    a_stream_is_the_same_however_it_is_split: deframer,
    a_candidate_line_survives: candidate_line,
    a_description_survives: sdp,
    a_fragment_survives: sdpfrag,
    an_endpoint_comes_to_rest_whatever_comes: endpoint_input,
    a_turn_client_comes_to_rest_whatever_comes: turn_client,
}

#[cfg(feature = "serde")]
replays! { a_signal_survives: signal_json }
