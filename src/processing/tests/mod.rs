//! What becomes of events: read by rules, found their call, inferred, put right, in any order.

mod appointments;
mod calls;
mod corrections;
mod model;
mod reading;
mod telling;
mod world;
