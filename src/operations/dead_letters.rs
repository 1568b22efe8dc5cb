//! Dead letters: records that a handler continued past, as they lie in their topic.

use std::ops::{ControlFlow, Range};

use serde::Serialize;
use tidemill_topology::record::Headers;

use super::committed_range::RangeReader;
use super::error::OperationError;
use super::footprint::TIMEOUT;
use crate::kafka::{Admin, Cluster, Message, Offset, TopicInfo, TopicPartition};

/// What the names of the headers start with that say whence a letter comes and why it is dead.
pub const ERROR_HEADERS: &str = "__streams.errors.";

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where it lies in the dead-letter topic.
    pub place: LetterPlace,
    /// Its timestamp, in milliseconds since 1970: the one of the record it was.
    pub timestamp: i64,
    /// The record's key.
    pub key: Option<Vec<u8>>,
    /// The record's value.
    pub value: Option<Vec<u8>>,
    /// The record's own headers.
    pub headers: Headers,
    /// Where the record lay.
    pub source: LetterSource,
    /// What it failed of.
    pub error: LetterError,
}

/// Where a letter lies in its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct LetterPlace {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// Where the record of a letter lay; empty where its headers do not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LetterSource {
    /// The topic.
    pub topic: Option<String>,
    /// The partition.
    pub partition: Option<i32>,
    /// The offset.
    pub offset: Option<i64>,
}

/// Why a record is dead; empty where its headers do not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LetterError {
    /// The name of the error.
    pub exception: String,
    /// What it said.
    pub message: String,
    /// Where in the topology.
    pub place: String,
}

impl DeadLetter {
    /// Takes a record of a dead-letter topic apart.
    #[must_use]
    pub fn read<M: Message>(partition: i32, message: &M) -> Self {
        let mut headers = Headers::new();
        message.read_headers(&mut headers);
        let text = |name: &str| {
            let header = headers.last(&format!("{ERROR_HEADERS}{name}"))?;
            header.value.as_deref().map(|value| String::from_utf8_lossy(value).into_owned())
        };
        let source = LetterSource {
            topic: text("topic"),
            partition: text("partition").and_then(|number| number.parse().ok()),
            offset: text("offset").and_then(|number| number.parse().ok()),
        };
        let error = LetterError {
            exception: text("exception").unwrap_or_default(),
            message: text("message").unwrap_or_default(),
            place: text("stacktrace").unwrap_or_default(),
        };
        let own = headers.iter().filter(|header| !header.name.starts_with(ERROR_HEADERS));
        Self {
            place: LetterPlace { partition, offset: message.offset().0 },
            timestamp: message.timestamp().millis(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.value().map(<[u8]>::to_vec),
            headers: own.cloned().collect(),
            source,
            error,
        }
    }
}

/// Which letters are meant; every condition that is set has to hold.
#[derive(Clone, Debug, Default)]
pub struct LetterFilter {
    /// The error's name or message contains this text.
    pub reason: Option<String>,
    /// The record came from this topic.
    pub source: Option<String>,
    /// The timestamp lies in this range, in milliseconds since 1970.
    pub time: Option<Range<i64>>,
    /// The letter lies in this partition of the dead-letter topic.
    pub partition: Option<i32>,
    /// The letter lies at these offsets.
    pub offsets: Option<Range<i64>>,
    /// The record's key.
    pub key: Option<Vec<u8>>,
}

impl LetterFilter {
    /// The one letter at a place.
    #[must_use]
    pub fn at(place: LetterPlace) -> Self {
        Self {
            partition: Some(place.partition),
            offsets: Some(place.offset..place.offset + 1),
            ..Self::default()
        }
    }

    /// Whether a letter is meant.
    #[must_use]
    pub fn matches(&self, letter: &DeadLetter) -> bool {
        let within = |range: &Option<Range<i64>>, number| {
            range.as_ref().is_none_or(|range| range.contains(&number))
        };
        self.reason.as_ref().is_none_or(|text| {
            letter.error.exception.contains(text) || letter.error.message.contains(text)
        }) && self.source.as_ref().is_none_or(|topic| letter.source.topic.as_ref() == Some(topic))
            && within(&self.time, letter.timestamp)
            && self.partition.is_none_or(|partition| letter.place.partition == partition)
            && within(&self.offsets, letter.place.offset)
            && self.key.as_ref().is_none_or(|key| letter.key.as_ref() == Some(key))
    }
}

/// A dead-letter topic that exists.
#[derive(Clone, Debug)]
pub struct DeadLetterTopic(TopicInfo);

impl DeadLetterTopic {
    /// Looks it up.
    ///
    /// # Errors
    /// When there is none of that name, or the cluster does not answer.
    pub fn find<A: Admin>(admin: &A, name: &str) -> Result<Self, OperationError> {
        let found = admin.describe_topics(&[name], TIMEOUT)?.into_iter().flatten().next();
        found.map(Self).ok_or_else(|| OperationError::NoTopic {
            topic: name.to_owned(),
            next: "create it, or name the topic of the dead letters with --topic",
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What tells it apart from a topic of the same name that was there before or comes later.
    #[must_use]
    pub fn identity(&self) -> String {
        self.0.id.map_or_else(|| self.0.name.to_string(), |id| id.to_string())
    }

    /// Hands the letters that are meant to `each`, those of a partition in order, until it breaks.
    ///
    /// # Errors
    /// What `each` answers, or when the cluster does not answer.
    pub fn read<C: Cluster>(
        &self,
        reader: &mut RangeReader<C>,
        filter: &LetterFilter,
        mut each: impl FnMut(DeadLetter) -> Result<ControlFlow<()>, OperationError>,
    ) -> Result<(), OperationError> {
        let count = i32::try_from(self.0.partitions.len()).unwrap_or(i32::MAX);
        let partitions: Vec<TopicPartition> = (0..count)
            .filter(|number| filter.partition.is_none_or(|wanted| wanted == *number))
            .map(|number| TopicPartition::new(self.0.name.clone(), number))
            .collect();
        let mut ranges = reader.ranges(&partitions)?;
        if let Some(offsets) = &filter.offsets {
            for range in &mut ranges {
                range.first = range.first.max(Offset(offsets.start));
                range.end = range.end.min(Offset(offsets.end));
            }
        }
        reader.read(&ranges, |partition, message| {
            let letter = DeadLetter::read(partition.partition, message);
            if filter.matches(&letter) { each(letter) } else { Ok(ControlFlow::Continue(())) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter() -> DeadLetter {
        DeadLetter {
            place: LetterPlace { partition: 1, offset: 7 },
            timestamp: 1_000,
            key: Some(b"k".to_vec()),
            value: None,
            headers: Headers::new(),
            source: LetterSource { topic: Some("orders".to_owned()), ..LetterSource::default() },
            error: LetterError {
                exception: "exchange.DecodeError".to_owned(),
                message: "expected a number".to_owned(),
                place: String::new(),
            },
        }
    }

    #[test]
    fn a_filter_without_conditions_means_every_letter() {
        assert!(LetterFilter::default().matches(&letter()));
        assert!(LetterFilter::at(letter().place).matches(&letter()));
    }

    #[test]
    fn one_condition_that_does_not_hold_is_enough() {
        let all = || LetterFilter {
            reason: Some("DecodeError".to_owned()),
            source: Some("orders".to_owned()),
            time: Some(1_000..1_001),
            partition: Some(1),
            offsets: Some(7..8),
            key: Some(b"k".to_vec()),
        };
        assert!(all().matches(&letter()));
        assert!(LetterFilter { reason: Some("a number".into()), ..all() }.matches(&letter()));
        for other in [
            LetterFilter { reason: Some("Other".to_owned()), ..all() },
            LetterFilter { source: Some("assets".to_owned()), ..all() },
            LetterFilter { time: Some(0..1_000), ..all() },
            LetterFilter { partition: Some(0), ..all() },
            LetterFilter { offsets: Some(8..9), ..all() },
            LetterFilter { key: Some(b"x".to_vec()), ..all() },
        ] {
            assert!(!other.matches(&letter()), "{other:?}");
        }
    }
}
