//! TURN servers that are dead, full, elsewhere, restarted, or reached over connections.
