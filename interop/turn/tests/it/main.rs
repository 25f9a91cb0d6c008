//! floe's TURN client against servers of others.

mod carries;
mod common;
mod in_process;
mod lives;
mod refuses;
