//! Instances of one application beside each other: threads that come and go, copies of state, tasks
//! that move, records between subtopologies.
//!
//! Read first [`counting`] (the application); then the tests.

mod counting;

mod packs;
mod pause;
mod retries;
mod threads;
