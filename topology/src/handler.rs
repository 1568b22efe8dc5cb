//! What happens to a record that cannot be read, processed or written: the error handlers.

use std::error::Error as StdError;
use std::sync::Arc;

use crate::node::SinkTopic;
use crate::record::{Header, Headers, RawRecord};

/// What a handler says of a failed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandlerDecision {
    /// Count it, send it to the dead-letter topic if there is one, and go on.
    Continue,
    /// Stop the task with the error.
    Fail,
}

type Failure<'e> = &'e (dyn StdError + Send + Sync + 'static);

/// Called with the record and what its serde said.
pub type DeserializationHandler =
    dyn Fn(&RawRecord<'_>, Failure<'_>) -> HandlerDecision + Send + Sync;
/// Called with the node's name, the source record and what the node said.
pub type ProcessingHandler =
    dyn Fn(&str, &RawRecord<'_>, Failure<'_>) -> HandlerDecision + Send + Sync;
/// Called with the sink topic, the source record and what went wrong.
pub type ProductionHandler =
    dyn Fn(&str, &RawRecord<'_>, Failure<'_>) -> HandlerDecision + Send + Sync;

/// A task's error handlers, and where dead letters go.
#[derive(Clone)]
pub struct Handlers {
    /// For records whose bytes cannot be read.
    pub deserialization: Arc<DeserializationHandler>,
    /// For records on which a node failed.
    pub processing: Arc<ProcessingHandler>,
    /// For records that cannot be serialized or that the broker refuses.
    pub production: Arc<ProductionHandler>,
    /// Where the records go that a handler continued past; `None` for nowhere.
    pub dead_letter_topic: Option<SinkTopic>,
}

impl Default for Handlers {
    /// Every error stops the task, as Kafka Streams' defaults do.
    fn default() -> Self {
        Self::all(HandlerDecision::Fail)
    }
}

impl Handlers {
    /// The same decision on every error, and no dead-letter topic.
    #[must_use]
    pub fn all(decision: HandlerDecision) -> Self {
        Self {
            deserialization: Arc::new(move |_, _| decision),
            processing: Arc::new(move |_, _, _| decision),
            production: Arc::new(move |_, _, _| decision),
            dead_letter_topic: None,
        }
    }

    /// The source's headers, then Kafka's own six (KIP-1034), where the node's name stands for a
    /// stack trace.
    #[must_use]
    pub fn dead_letter_headers(
        &self,
        source: &RawRecord<'_>,
        cause: Failure<'_>,
        node: Option<&str>,
    ) -> Headers {
        let error =
            cause.downcast_ref::<NamedError>().map_or("tidemill.RecordError", |error| &error.name);
        let place = match node {
            Some(node) => format!("{cause:?} in node {node}"),
            None => format!("{cause:?}"),
        };
        let own = [
            ("exception", error.to_owned()),
            ("message", cause.to_string()),
            ("stacktrace", place),
            ("topic", source.topic.to_owned()),
            ("partition", source.partition.to_string()),
            ("offset", source.offset.to_string()),
        ];
        let own = own.map(|(name, value)| Header {
            name: format!("__streams.errors.{name}"),
            value: Some(value.into_bytes()),
        });
        source.headers.iter().cloned().chain(own).collect()
    }
}

/// An error with the name that a dead letter shows as its exception.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct NamedError {
    /// Shown in `__streams.errors.exception`.
    pub name: String,
    /// Shown in `__streams.errors.message`.
    pub message: String,
}
