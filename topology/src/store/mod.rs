//! What an operator sees of its state: typed stores over an ordered map of bytes.
//!
//! Read [`bytes`] first (what a store must be able to do; [`engine`] for one of your own), then [`spec`] (the kinds of stores, their
//! byte layouts and changelogs), then the typed views: [`key_value`], [`window`], [`session`],
//! [`sessions`], [`versioned`], [`join_window`] and [`change_buffer`], [`global`] for global stores, and [`select`],
//! [`merged_pages`], [`entry`] and [`text`] for readers from outside.

pub mod bytes;
pub mod change_buffer;
pub mod engine;
pub mod entry;
pub mod global;
pub mod join_window;
pub mod key_value;
pub mod merged_pages;
pub mod select;
pub mod session;
pub mod sessions;
pub mod spec;
pub mod text;
pub mod versioned;
pub mod window;

pub use bytes::{BytesStore, Expired, KeyRange, Order, Pending, StoreIndex};
pub use engine::{EngineFactory, StoreEngine};
pub use entry::{StoreEntry, StoreReader};
pub use global::GlobalHandle;
pub use key_value::{
    KeyValue, KeyValueHandle, TableHandle, Timestamped, TimestampedHandle, ValueAndTimestamp,
};
pub use session::SessionHandle;
pub use sessions::Sessions;
pub use spec::{StoreKind, StoreSpec};
pub use versioned::{Version, VersionPut, VersionedHandle, Versions};
pub use window::{WindowHandle, Windows};
