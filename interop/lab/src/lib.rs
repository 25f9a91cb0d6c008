//! Networks without an uplink, and real servers in them.
//!
//! Every test has a network of its own: the thread that runs it moves into a network namespace
//! that holds one cable, and nothing leaves it. Tests run side by side with the same addresses, and
//! all of it is gone when the thread ends. This takes root, on Linux; where something is missing
//! the tests fail, and say what to do about it.

mod cable;
mod certificate;
mod coturn;
mod network;
mod report;
mod scratch;
mod talker;

pub use certificate::{Authority, NAME};
pub use coturn::{Coturn, PASSWORD, REALM, USER};
pub use network::{CLIENTS, CLIENTS6, Host, Network, SERVERS, SERVERS6, on_a_host};
pub use report::{Wanted, ending};
pub use scratch::Scratch;
pub use talker::Talker;

/// Why there can be no network with a server here, for those that go on without; else `None`.
pub fn missing() -> Option<&'static str> {
    // SAFETY: no more than a number is read.
    if unsafe { libc::geteuid() } != 0 {
        return Some("network namespaces take root");
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = |name| std::env::split_paths(&path).any(|folder| folder.join(name).exists());
    let all = ["turnserver", "ip"].into_iter().all(found);
    (!all).then_some("coturn or ip is missing: run interop/setup")
}
