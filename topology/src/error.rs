//! What can go wrong while a topology runs, and what to do about it.

use std::fmt;

/// A boxed error object of user code or a library.
pub type Cause = Box<dyn std::error::Error + Send + Sync + 'static>;

/// The result of everything that runs inside a task.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

/// An error of the record path: one pointer wide, so that results stay cheap.
///
/// [`Error::kind`] tells what happened; the runtime decides by it whether the record may be
/// skipped or the task has to stop.
pub struct Error(Box<ErrorKind>);

/// What happened, to which record, node or store, and what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A record's bytes are not what the serde expects. The deserialization handler decides.
    #[error(
        "cannot read the {part} of {topic}-{partition}@{offset}: {cause}; \
         fix the producer, or let the deserialization handler continue past such records"
    )]
    Deserialization {
        /// `key` or `value`.
        part: &'static str,
        /// Topic of the record.
        topic: String,
        /// Partition of the record.
        partition: i32,
        /// Offset of the record.
        offset: i64,
        /// What the serde said.
        cause: Cause,
    },
    /// A typed value could not be written as bytes. The production handler decides.
    #[error(
        "cannot write the {part} for {target}: {cause}; give a serde that accepts every value of the stream"
    )]
    Serialization {
        /// `key` or `value`.
        part: &'static str,
        /// The sink topic or the store.
        target: String,
        /// What the serde said.
        cause: Cause,
    },
    /// User code of a node failed. The processing handler decides.
    #[error(
        "node {node} failed: {cause}; handle the record in the node, or let the processing handler continue"
    )]
    Processing {
        /// Name of the node.
        node: String,
        /// What the code said.
        cause: Cause,
    },
    /// A store could not be read or written.
    #[error(
        "store {store}: {cause}; the task is closed without advancing and restored from its changelog"
    )]
    Store {
        /// Name of the store.
        store: String,
        /// What the store said.
        cause: Cause,
    },
    /// A record could not be handed to the producer.
    #[error("cannot send to {topic}: {cause}")]
    Send {
        /// The target topic.
        topic: String,
        /// What the producer said.
        cause: Cause,
    },
    /// A record is larger than the producer or the topic allows. The production handler decides.
    #[error(
        "a record for {topic} is too large: {cause}; raise message.max.bytes on both sides, \
         or let the production handler continue past such records"
    )]
    TooLarge {
        /// The target topic.
        topic: String,
        /// What the producer said.
        cause: Cause,
    },
    /// A suppression buffer that may not emit early is full.
    #[error(
        "suppression buffer {buffer} is full ({detail}); raise its bound, or let it emit early"
    )]
    BufferFull {
        /// Name of the buffer.
        buffer: String,
        /// Bound and contents.
        detail: String,
    },
    /// The topology was wired wrongly: types or stores do not fit.
    #[error("topology: {0}")]
    Wiring(String),
}

impl Error {
    /// Wraps what happened.
    #[must_use]
    pub fn new(kind: ErrorKind) -> Self {
        Self(Box::new(kind))
    }

    /// A failure of user code; the runtime fills in the node's name.
    ///
    /// ```
    /// use tidemill_topology::error::Error;
    /// let failed: Result<u32, Error> = "x".parse::<u32>().map_err(Error::processing);
    /// assert!(failed.is_err());
    /// ```
    #[must_use]
    pub fn processing(cause: impl Into<Cause>) -> Self {
        Self::new(ErrorKind::Processing { node: String::new(), cause: cause.into() })
    }

    /// A failure of a store.
    #[must_use]
    pub fn store(store: impl Into<String>, cause: impl Into<Cause>) -> Self {
        Self::new(ErrorKind::Store { store: store.into(), cause: cause.into() })
    }

    /// A topology that does not fit together.
    #[must_use]
    pub fn wiring(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Wiring(what.into()))
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.0
    }

    /// What happened, by value.
    #[must_use]
    pub fn into_kind(self) -> ErrorKind {
        *self.0
    }

    /// Whether the processing handler may continue past this error: it belongs to one record.
    #[must_use]
    pub fn is_processing(&self) -> bool {
        matches!(*self.0, ErrorKind::Processing { .. })
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&*self.0)
    }
}
