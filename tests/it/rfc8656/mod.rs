//! RFC 8656: the TURN client, against a server that does as it is told.

mod allocate;
mod channels;
mod data;
mod deviations;
mod losses;
mod permissions;
mod polls;
mod refresh;
mod refusals;
mod server;
mod storms;
