//! Ack and Closed: what verifies is stored before its 2xx, everything else gets a clear 4xx and leaves
//! no trace.

mod bodies;
mod busy;
mod handshakes;
mod signatures;
