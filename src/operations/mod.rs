//! What an operator does to an application from outside: reset it, describe it, replay its dead
//! letters, copy its stores.
//!
//! All of it goes through the border to [Kafka](crate::kafka), so that it works on any cluster and
//! whether or not an instance runs. What changes something first makes a plan that can be shown.
//!
//! Read in this order: [`footprint`] (what an application has on a cluster), [`committed_range`]
//! (reading partitions to where they end) and [`transaction`] (writing all or nothing); then
//! [`starting_point`] and [`reset`], [`dead_letters`] and [`letter_replay`],
//! [`description`], [`store_export`] and [`store_import`]; [`error`] says what can go wrong.

pub mod committed_range;
pub mod dead_letters;
pub mod description;
pub mod error;
pub mod footprint;
pub mod letter_replay;
pub mod reset;
pub mod starting_point;
pub mod store_export;
pub mod store_import;
pub mod transaction;

pub use error::OperationError;
pub use footprint::Footprint;
