//! floe's TURN client against servers of others.

mod carries;
mod common;
mod connects;
mod in_process;
mod lives;
mod node;
mod refuses;
