//! Queries of an instance's stores, answered from committed state on the caller's own thread.
//!
//! Read in this order: [`readable`] (which tasks can be read here, and how a stream thread is asked
//! to show its stores), [`local_store`] (one store over all its tasks here, in bytes and pages),
//! [`store_query`] (the same with its types, what a program uses), [`json`] (as JSON, what HTTP uses)
//! and [`metadata`] (who has what).

pub mod json;
pub mod local_store;
pub mod metadata;
pub mod readable;
pub mod store_query;

pub use local_store::LocalStore;
pub use readable::ReadableStores;
pub use store_query::{EntryPage, Selection, StoreQuery};

/// Keys and values, as bytes.
pub type Entries = Vec<(Vec<u8>, Vec<u8>)>;
