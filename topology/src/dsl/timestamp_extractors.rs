//! What to do with records whose timestamp is invalid (negative): ready-made extractors for
//! [`Consumed::timestamp_extractor`](super::options::Consumed::timestamp_extractor).
//!
//! Without one, such records are dropped and counted.

use crate::error::Cause;
use crate::record::Record;
use crate::time::Timestamp;

/// Stops the task at an invalid timestamp, as Kafka Streams does unless told.
///
/// ```
/// # use tidemill_topology::prelude::*;
/// # let builder = StreamsBuilder::new();
/// builder.stream("in", Consumed::with(Utf8, Utf8).timestamp_extractor(fail_on_invalid_timestamp));
/// # builder.build().unwrap();
/// ```
///
/// # Errors
/// When the timestamp is negative.
pub fn fail_on_invalid_timestamp<K, V>(
    record: Record<'_, K, V>,
    _: Timestamp,
) -> Result<Timestamp, Cause> {
    if record.timestamp < Timestamp::new(0) {
        return Err(format!("timestamp {} is negative", record.timestamp).into());
    }
    Ok(record.timestamp)
}

/// Drops records with an invalid timestamp, and counts them.
///
/// ```
/// # use tidemill_topology::prelude::*;
/// # let builder = StreamsBuilder::new();
/// builder.stream("in", Consumed::with(Utf8, Utf8).timestamp_extractor(skip_invalid_timestamp));
/// # builder.build().unwrap();
/// ```
///
/// # Errors
/// Never.
pub fn skip_invalid_timestamp<K, V>(
    record: Record<'_, K, V>,
    _: Timestamp,
) -> Result<Timestamp, Cause> {
    Ok(record.timestamp)
}

/// Gives records with an invalid timestamp the highest one that their partition has had.
///
/// ```
/// # use tidemill_topology::prelude::*;
/// # let builder = StreamsBuilder::new();
/// builder.stream("in", Consumed::with(Utf8, Utf8).timestamp_extractor(partition_time_if_invalid));
/// # builder.build().unwrap();
/// ```
///
/// # Errors
/// When the partition has had no valid timestamp yet.
pub fn partition_time_if_invalid<K, V>(
    record: Record<'_, K, V>,
    partition_time: Timestamp,
) -> Result<Timestamp, Cause> {
    match (record.timestamp, partition_time) {
        (timestamp, _) if timestamp >= Timestamp::new(0) => Ok(timestamp),
        (timestamp, Timestamp::UNKNOWN) => Err(format!(
            "timestamp {timestamp} is negative, and the partition has had no valid one"
        )
        .into()),
        (_, partition_time) => Ok(partition_time),
    }
}
