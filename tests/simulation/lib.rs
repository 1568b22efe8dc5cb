//! Tidemill's runtime on a simulated Kafka cluster: one thread, one seed, virtual time.
//!
//! The code under test is the runtime as it is: an [`Instance`](tidemill::runtime::instance) with
//! its stream threads, state updaters and stores. The cluster is not: brokers, groups, transactions
//! and the network are simulated, with everything that can go wrong in them. A seed decides all
//! that happens, so a seed that fails fails the same way again.
//!
//! Read in this order: [`mod@run`] (one seed from start to end), [`scenario`] (applications and their
//! models), [`faults`], `check` (what must hold), then how it works: [`world`] (time and chance),
//! `scheduler` (coroutines), [`process`], [`cluster`] (what brokers do), [`client`] (what the client
//! library does), [`trace`]. [`lending`] is a model of its own, of a protocol that is not built.
//!
//! To add an application, write a file of [`scenario`] and name it in
//! [`SCENARIOS`](scenario::SCENARIOS). To add a fault, add a variant to [`faults::Fault`], its place
//! in `faults::fault` and its effect in `faults::strike`. A new invariant goes to `check`.

mod check;
pub mod client;
pub mod cluster;
pub mod faults;
pub mod lending;
pub mod process;
pub mod random;
pub mod run;
pub mod scenario;
mod scheduler;
pub mod trace;
pub mod world;

pub use run::{Options, Outcome, run};
