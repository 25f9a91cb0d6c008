//! Measures floe side by side with its peers in one run and prints the tables.
//!
//! Every claim is a ratio within one run; figures of different runs or machines do not compare.

mod agents;
mod codec;
mod connect;
mod inbound;
mod loss;
mod measure;
mod network;
mod report;
mod scale;
mod sdp;
mod sockets;
mod turn;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use measure::Effort;
use report::Report;

#[global_allocator]
static ALLOCATOR: measure::CountingAllocator = measure::CountingAllocator;

type Section = (&'static str, fn(&mut Report));

const SECTIONS: [Section; 8] = [
    ("codec", codec::run),
    ("inbound", inbound::run),
    ("connect", connect::run),
    ("loss", loss::run),
    ("scale", scale::run),
    ("sdp", sdp::run),
    ("sockets", sockets::run),
    ("turn", turn::run),
];

const USAGE: &str = "\
usage: bench [--quick] [--gate] [--readme FILE] all | SECTION…
sections: codec inbound connect loss scale sdp sockets turn
  --quick        few rounds: a smoke run of seconds
  --gate         exit with 1 if a deterministic target is missed
  --readme FILE  write the summary between the markers in FILE";

struct Options {
    quick: bool,
    gate: bool,
    readme: Option<PathBuf>,
    sections: Vec<Section>,
}

impl Options {
    fn parse(arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut options = Self { quick: false, gate: false, readme: None, sections: Vec::new() };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--gate" => options.gate = true,
                "--readme" => options.readme = Some(arguments.next()?.into()),
                "all" => options.sections = SECTIONS.to_vec(),
                name => options.sections.push(*SECTIONS.iter().find(|section| section.0 == name)?),
            }
        }
        (!options.sections.is_empty()).then_some(options)
    }

    fn effort(&self) -> Effort {
        if self.quick {
            Effort { rounds: 3, batch: Duration::from_millis(1) }
        } else {
            Effort { rounds: 21, batch: Duration::from_millis(8) }
        }
    }
}

fn main() -> ExitCode {
    let Some(options) = Options::parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let mut report = Report::new(options.effort(), options.quick);
    for (_, run) in &options.sections {
        run(&mut report);
    }
    let met = report.finish();
    if let Some(path) = &options.readme
        && let Err(error) = report.write_readme(path)
    {
        eprintln!("{}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    if options.gate && !met { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
