//! The exchange as its users have it: the `tidemill` program on a real Kafka, killed, starved and
//! fed with nonsense.
//!
//! Read first [`market`] (an exchange's topics and its instances), [`flow`] (the orders sent) and
//! [`outcome`] (what came of them, and the comparison of two outcomes); then the tests.

mod flow;
mod market;
mod outcome;
mod tail;

mod at_least_once;
mod bad_inputs;
mod commit_steps;
mod crashes;
mod first_steps;
mod full_disk;
mod takeover;
mod two_orders;
