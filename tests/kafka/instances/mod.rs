//! Instances of one application beside each other: threads that come and go, copies of state, tasks
//! that move.
//!
//! Read first [`counting`] (the application); then the tests.

mod counting;

mod pause;
mod retries;
mod threads;
