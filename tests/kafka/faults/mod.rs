//! What goes wrong around an instance, one fault a test, each with the reaction that ARCHITECTURE.md
//! promises.
//!
//! Read first [`words`] (the application); then the tests. Crashes of the process, a full disk, lost
//! sessions and many faults at once are elsewhere: `exchange`, `tests/chaos`, `tests/simulation`.

mod words;

mod brokers;
mod expiry;
mod fencing;
mod offsets;
mod processors;
mod rebalances;
mod restores;
mod rights;
mod state;
mod topics;
