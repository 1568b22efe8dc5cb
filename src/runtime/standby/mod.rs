//! Standby tasks: copies of other instances' state, kept warm so that a takeover restores only the
//! end of the changelogs.
//!
//! [`heirs`] foretells to whom a task falls, [`placement`] decides who copies what, [`StandbyUpdater`]
//! keeps this instance's copies, and [`predecessor`] ends the transaction that a dead instance left
//! open, for which a takeover would have to wait otherwise.

pub mod heirs;
pub mod placement;
pub mod predecessor;
mod updater;

pub use predecessor::Predecessors;
pub use updater::{StandbySettings, StandbyUpdater, wait_until_warm};
