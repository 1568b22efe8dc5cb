//! `stream`: reads a topic's records into types. Stateless, but for the partition's time.
//!
//! Drops, counted: records that cannot be deserialized where the handler continues, and records
//! with a negative timestamp.

use std::sync::Arc;

use crate::error::{Cause, Error, ErrorKind, Result};
use crate::handler::HandlerDecision;
use crate::node::{Children, Context, DropReason, RawInput, TimeSlot};
use crate::record::Record;
use crate::serde::{SerdeRef, read};
use crate::time::Timestamp;

/// Says when a record happened: given the record and the highest timestamp so far on its partition
/// ([`Timestamp::UNKNOWN`] at first). A negative answer drops the record and counts it; an error
/// stops the task.
pub type TimestampExtractor<K, V> =
    dyn Fn(Record<'_, K, V>, Timestamp) -> Result<Timestamp, Cause> + Send + Sync;

/// Reads the records of one or more topics.
pub(crate) struct Source<K, V> {
    pub(crate) key: SerdeRef<K>,
    pub(crate) value: SerdeRef<V>,
    pub(crate) extractor: Option<Arc<TimestampExtractor<K, V>>>,
    /// The partition's time, a topic each.
    pub(crate) times: Vec<(String, TimeSlot)>,
    pub(crate) children: Children<K, V>,
}

/// Reads a part of the record, or gives it to the handler.
pub(crate) fn read_part<T: 'static>(
    part: &'static str,
    serde: &SerdeRef<T>,
    ctx: &mut Context<'_>,
) -> Result<Option<T>> {
    let source = ctx.source;
    let bytes = if part == "key" { source.key } else { source.value };
    match read(&**serde, bytes) {
        Ok(value) => Ok(Some(value)),
        Err(cause) => refuse(part, cause, ctx).map(|()| None),
    }
}

/// Gives the record to the handler, as a part of it cannot be read.
#[cold]
pub(crate) fn refuse(part: &'static str, cause: Cause, ctx: &mut Context<'_>) -> Result {
    let handlers = Arc::clone(&ctx.env.handlers);
    if (handlers.deserialization)(ctx.source, &*cause) == HandlerDecision::Fail {
        return Err(Error::new(ErrorKind::Deserialization {
            part,
            topic: ctx.source.topic.to_owned(),
            partition: ctx.source.partition,
            offset: ctx.source.offset,
            cause,
        }));
    }
    ctx.drop_record(DropReason::Deserialization);
    ctx.dead_letter(&handlers, &*cause, None, ctx.source.timestamp)
}

/// The record's time, from its extractor or as it is; `None` if it is to be dropped.
pub(crate) fn event_time<K, V>(
    extractor: Option<&Arc<TimestampExtractor<K, V>>>,
    times: &[(String, TimeSlot)],
    record: Record<'_, K, V>,
    ctx: &mut Context<'_>,
) -> Result<Option<Timestamp>> {
    let timestamp = match extractor {
        None => record.timestamp,
        Some(extract) => {
            let slot =
                times.iter().find(|(topic, _)| topic == ctx.source.topic).map(|(_, slot)| *slot);
            let partition_time = slot.map_or(Timestamp::UNKNOWN, |slot| ctx.time(slot));
            let timestamp = extract(record, partition_time).map_err(Error::processing)?;
            if let Some(slot) = slot {
                ctx.advance(slot, timestamp);
            }
            timestamp
        }
    };
    if timestamp < Timestamp::new(0) {
        ctx.drop_record(DropReason::InvalidTimestamp);
        return Ok(None);
    }
    ctx.env.stream_time = ctx.env.stream_time.max(timestamp);
    Ok(Some(timestamp))
}

impl<K: 'static, V: 'static> RawInput for Source<K, V> {
    #[inline]
    fn receive(&mut self, ctx: &mut Context<'_>) -> Result {
        let Some(key) = read_part("key", &self.key, ctx)? else { return Ok(()) };
        let Some(value) = read_part("value", &self.value, ctx)? else { return Ok(()) };
        let source = ctx.source;
        let record = Record {
            key: &key,
            value: &value,
            timestamp: source.timestamp,
            headers: source.headers,
        };
        match event_time(self.extractor.as_ref(), &self.times, record, ctx)? {
            Some(timestamp) => self.children.forward(record.with_timestamp(timestamp), ctx),
            None => Ok(()),
        }
    }
}
