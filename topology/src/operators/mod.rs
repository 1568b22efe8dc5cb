//! The operators, a file each: what it does, what it keeps, what it drops.

pub mod aggregate;
pub mod branch;
pub mod change;
pub mod filter;
pub mod map;
pub mod pass_through;
pub mod peek;
pub mod sink;
pub mod source;
pub mod stream_table_join;
pub mod table_source;
pub mod table_state;
pub mod to_stream;
pub mod to_table;
pub mod windowed_aggregate;
