//! Small clients, without IO, of protocols beside ICE that tell something of the network.

pub mod mdns;
