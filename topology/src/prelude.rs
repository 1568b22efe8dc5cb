//! Everything that a topology's author needs, in one import.

pub use crate::dsl::branch::{Branches, Split};
pub use crate::dsl::builder::StreamsBuilder;
pub use crate::dsl::cogroup::{CogroupedStream, WindowedCogroupedStream};
pub use crate::dsl::global_table::GlobalKTable;
pub use crate::dsl::grouped::KGroupedStream;
pub use crate::dsl::grouped_table::KGroupedTable;
pub use crate::dsl::join_windows::{JoinWindows, StreamJoined};
pub use crate::dsl::options::{Consumed, Grouped, Joined, Materialized, Produced, Repartitioned};
pub use crate::dsl::stores::Stores;
pub use crate::dsl::stream::KStream;
pub use crate::dsl::suppress::{BufferConfig, Suppressed};
pub use crate::dsl::table::KTable;
pub use crate::dsl::table_join::TableJoined;
pub use crate::dsl::timestamp_extractors::{
    fail_on_invalid_timestamp, partition_time_if_invalid, skip_invalid_timestamp,
};
pub use crate::dsl::windowed::{
    SessionWindowedStream, SlidingWindowedStream, TimeWindowedStream, WindowedStream,
};
pub use crate::dsl::windows::{EmitStrategy, SessionWindows, SlidingWindows, TimeWindows};
pub use crate::error::{Cause, Error, ErrorKind, Result};
pub use crate::graph::{Description, Optimization, SubtopologyId, TaskId, Topology};
pub use crate::handler::{HandlerDecision, Handlers};
pub use crate::node::{DropReason, PunctuationType, ScheduleId};
pub use crate::operators::table_transform::TableTransformer;
pub use crate::processor::{Processor, ProcessorContext};
pub use crate::record::{Header, Headers, RawRecord, Record};
pub use crate::serde::{
    Bytes, F32, F64, I16, I32, I64, Ignored, Json, Nullable, Serde, SerdeRef, SerdeResult,
    SessionWindowed, TimeWindowed, U16, U32, U64, Utf8,
};
pub use crate::store::{
    GlobalHandle, KeyValue, KeyValueHandle, Order, SessionHandle, StoreEngine, StoreEntry,
    StoreKind, StoreSpec, TableHandle, ValueAndTimestamp, Version, VersionPut, VersionedHandle,
    WindowHandle,
};
pub use crate::time::{Timestamp, Window, Windowed};
