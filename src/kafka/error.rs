//! The one error of the border: what went wrong, in which call, where, and how it can be answered.

use std::borrow::Cow;

use super::partition::TopicPartition;

/// What can be done about a [`KafkaError`]. The order of the variants is the order in which a
/// failed transactional call is to be judged: fatal, abortable, retriable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// A newer producer or member with the same id took over (or the broker timed the transaction
    /// out). The handle is dead: roll back and open a new one.
    Fenced,
    /// The handle is dead for another reason: roll back and open a new one.
    Fatal,
    /// The transaction cannot be committed any more: abort it and roll back.
    Abortable,
    /// Passes by itself, or when the same call is repeated with the same arguments.
    Retriable,
    /// The call's time was up before its outcome was known: repeat the same call.
    TimedOut,
    /// The member is not in its group's current generation: its partitions are lost.
    NotAMember,
    /// The cluster denies access, or the credentials are wrong.
    Authorization,
    /// The topic or partition does not exist.
    UnknownTopicOrPartition,
    /// What was to be created exists already.
    AlreadyExists,
    /// The offset is not in the log.
    OffsetOutOfRange,
    /// The record is larger than the producer or the topic allows.
    RecordTooLarge,
    /// A setting is unknown, malformed, or contradicts another.
    Configuration,
    /// The cluster or the client does not know this operation.
    Unsupported,
    /// None of these; treat it as fatal for what was tried.
    Other,
}

impl ErrorClass {
    /// Whether repeating the same call can help.
    #[must_use]
    pub const fn is_retriable(self) -> bool {
        matches!(self, Self::Retriable | Self::TimedOut)
    }

    /// Whether the consumer or producer that reported it can only be replaced.
    #[must_use]
    pub const fn is_fatal(self) -> bool {
        matches!(self, Self::Fenced | Self::Fatal)
    }
}

/// A call to Kafka that failed.
///
/// One pointer wide, since it travels in the result of calls made for every record.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct KafkaError(Box<Failure>);

#[derive(Clone, Debug, thiserror::Error)]
#[error("{operation}{}: {message} ({code})", place(.topic.as_deref(), *.partition))]
struct Failure {
    class: ErrorClass,
    code: Cow<'static, str>,
    operation: &'static str,
    message: String,
    topic: Option<String>,
    partition: Option<i32>,
}

fn place(topic: Option<&str>, partition: Option<i32>) -> String {
    match (topic, partition) {
        (Some(topic), Some(partition)) => format!(" of {topic}-{partition}"),
        (Some(topic), None) => format!(" of {topic}"),
        _ => String::new(),
    }
}

impl KafkaError {
    /// A failure of `operation` (a few words: `"commit transaction"`), with Kafka's name for it.
    #[must_use]
    pub fn new(
        class: ErrorClass,
        code: impl Into<Cow<'static, str>>,
        operation: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self(Box::new(Failure {
            class,
            code: code.into(),
            operation,
            message: message.into(),
            topic: None,
            partition: None,
        }))
    }

    /// Says of which topic.
    #[must_use]
    pub fn of_topic(mut self, topic: &str) -> Self {
        self.0.topic = Some(topic.to_owned());
        self
    }

    /// Says of which partition.
    #[must_use]
    pub fn of_partition(mut self, partition: &TopicPartition) -> Self {
        self.0.topic = Some(partition.topic.as_ref().to_owned());
        self.0.partition = Some(partition.partition);
        self
    }

    /// The same failure, judged otherwise.
    #[must_use]
    pub fn with_class(mut self, class: ErrorClass) -> Self {
        self.0.class = class;
        self
    }

    /// What can be done about it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        self.0.class
    }

    /// Kafka's or librdkafka's name of it, such as `UNKNOWN_MEMBER_ID` or `_TIMED_OUT`.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// What was tried.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// The client's own words.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The topic it concerns, if one.
    #[must_use]
    pub fn topic(&self) -> Option<&str> {
        self.0.topic.as_deref()
    }

    /// The partition it concerns, if one.
    #[must_use]
    pub fn partition(&self) -> Option<i32> {
        self.0.partition
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_was_tried_where_and_with_which_result() {
        let error =
            KafkaError::new(ErrorClass::TimedOut, "_TIMED_OUT", "list offsets", "no answer")
                .of_partition(&TopicPartition::new("orders", 3));
        assert_eq!(error.to_string(), "list offsets of orders-3: no answer (_TIMED_OUT)");
        assert!(error.class().is_retriable());
        assert_eq!(size_of::<Result<(), KafkaError>>(), size_of::<usize>());
    }
}
