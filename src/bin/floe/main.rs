//! The floe tool: shows ICE at work, lists candidates, and runs one agent for other programs.

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

mod advice;
mod connect;
mod demo;
mod gather;
mod options;
mod output;
mod peer;
mod serve;
mod side;
#[allow(dead_code, reason = "tests use more of it")]
mod turn_server;

/// ICE (RFC 8445): a direct, authenticated path between two peers.
#[derive(Parser)]
#[command(name = "floe", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Connect two agents on this machine over real sockets, kill their path, watch them recover.
    Demo(demo::Options),
    /// List the candidates of this machine and what each cost.
    Gather(gather::Options),
    /// Run one agent, driven by JSON lines on stdin and stdout.
    Peer(peer::Options),
    /// Join a room, connect to a browser or another `floe connect`, and talk.
    Connect(connect::Options),
    /// Serve signalling over WebSocket, in rooms, and a page for browsers.
    Serve(serve::Options),
}

/// Why the tool gives up: one sentence that says what to do, and the exit code.
pub(crate) struct Failure {
    sentence: String,
    code: u8,
}

impl Failure {
    /// The command line is wrong.
    pub(crate) fn usage(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), code: 2 }
    }

    /// Something did not work.
    pub(crate) fn runtime(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), code: 1 }
    }
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.sentence.is_empty() {
                eprintln!("floe: {}", output::printable(&failure.sentence));
            }
            ExitCode::from(failure.code)
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::runtime(format!("cannot start ({error}); free some files")))?;
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Demo(options) => demo::run(options).await,
            Command::Gather(options) => gather::run(options).await,
            Command::Peer(options) => peer::run(options).await,
            Command::Connect(options) => connect::run(options).await,
            Command::Serve(options) => serve::run(options).await,
        }
    });
    // A read of stdin may be under way on a thread of its own: do not wait for it.
    runtime.shutdown_background();
    outcome
}

/// Prints help and version as they are, and a wrong command line as one sentence.
fn explain(error: &clap::Error) -> ExitCode {
    let kind = error.kind();
    if kind == ErrorKind::DisplayHelp || kind == ErrorKind::DisplayVersion {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if kind == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return ExitCode::from(2);
    }
    let text = error.to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = paragraph.split_whitespace().collect();
    let sentence = words.join(" ");
    let sentence = sentence.strip_prefix("error: ").unwrap_or(&sentence);
    eprintln!("floe: {sentence}; see floe --help");
    ExitCode::from(2)
}
