//! The exchange as its users have it: the `tidemill` program on a real Kafka, killed, starved and
//! fed with nonsense.
//!
//! Read first [`market`] (an exchange's topics and its instances), [`flow`] and [`sender`] (the
//! orders sent), [`outcome`] (what came of them, and the comparison of two outcomes), [`tail`] (the
//! moment at which something new is seen), [`prometheus`] (a real one, with our rules); then the tests.

mod flow;
mod gaps;
mod market;
mod outcome;
mod prometheus;
mod security;
mod sender;
mod tail;

mod alerts;
mod at_least_once;
mod bad_inputs;
mod commit_steps;
mod copies;
mod crashes;
mod first_steps;
mod full_disk;
mod http_orders;
mod idle;
mod memory;
mod monitoring;
mod old_events;
mod operations;
mod optimized;
mod standbys;
mod stops;
mod takeover;
mod two_orders;
