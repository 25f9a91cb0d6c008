//! floe's TURN client against servers of others, and what else needs a network of its own.

mod carries;
mod common;
mod connects;
mod in_process;
mod link;
mod lives;
mod node;
mod refuses;
