//! One ICE agent of a Rust library, driven by lines of JSON on stdin and stdout.
//!
//! `peers speak LIBRARY --role controlling|controlled [--family 4|6] [--lite]
//! [--relay HOST:PORT,USER,PASSWORD]`, where LIBRARY is `floe`, `is`, `rtc-ice`, `rice-proto` or
//! `webrtc-ice`. Each library runs at its default settings; where something is set, a comment says
//! why. What a library cannot do ends in exit code 2 if it is an argument, in
//! `{"error":"sentence"}` if it is an order.

mod addresses;
mod arguments;
mod floe;
mod is;
mod lines;
mod on_tokio;
mod rice_proto;
mod rtc_ice;
mod sans_io;
mod version;
mod webrtc_ice;

use std::process::ExitCode;

use arguments::Arguments;

/// The exit code for what the library or this program cannot do.
const UNABLE: u8 = 2;

/// Runs the agent that the words after `speak` name.
pub fn main(words: impl Iterator<Item = String>) -> ExitCode {
    let Err(sentence) = run(words) else { return ExitCode::SUCCESS };
    eprintln!("peers: {sentence}");
    ExitCode::from(UNABLE)
}

/// Runs until stdin ends; an error says what cannot be done.
fn run(mut words: impl Iterator<Item = String>) -> Result<(), String> {
    let library = words.next().ok_or("name a library first")?;
    let arguments = Arguments::parse(words)?;
    match library.as_str() {
        "floe" => floe::run(&arguments),
        "is" => sans_io::run::<is::Peer>(&arguments),
        "rice-proto" => sans_io::run::<rice_proto::Peer>(&arguments),
        "rtc-ice" => sans_io::run::<rtc_ice::Peer>(&arguments),
        "webrtc-ice" => webrtc_ice::run(&arguments),
        _ => Err(format!("there is no library \"{library}\" here")),
    }
}

fn sentence(error: impl std::fmt::Display) -> String {
    error.to_string()
}
