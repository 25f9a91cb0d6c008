//! The seeds of the fuzz targets, replayed.

#[allow(unreachable_pub, dead_code, reason = "a crate of its own, included")]
#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::path::PathBuf;

/// Runs a target over all of its seeds and its corpus.
fn replay(target: &str, run: fn(&[u8])) {
    for kind in ["fuzz/seeds", "fuzz/kept"] {
        let inputs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(kind).join(target);
        let inputs = fs::read_dir(&inputs).unwrap_or_else(|error| panic!("{inputs:?}: {error}"));
        let mut count = 0;
        for entry in inputs {
            let path = entry.unwrap().path();
            // Which one it was that a panic came of.
            println!("{}", path.display());
            run(&fs::read(path).unwrap());
            count += 1;
        }
        assert!(count > 0, "{target} has nothing in {kind}");
    }
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
    the_attributes_that_count_are_those_before_the_seal: stun_attributes,
    a_stream_is_the_same_however_it_is_split: deframer,
    a_candidate_line_survives: candidate_line,
    a_description_survives: sdp,
    a_fragment_survives: sdpfrag,
    an_endpoint_comes_to_rest_whatever_comes: endpoint_input,
    a_turn_client_comes_to_rest_whatever_comes: turn_client,
    multicast_dns_comes_to_rest_whatever_comes: mdns,
    a_signal_survives: signal_json,
    two_in_a_room_hear_each_other_whatever_strangers_do: rooms,
    a_body_is_read_or_refused: bodies,
    the_lines_of_a_stream_are_the_same_however_it_is_split: signal_lines,
}
