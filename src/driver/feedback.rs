//! Records on their way from a sink of the topology to a source of it.

use std::ops::Range;

use tidemill_topology::node::Outgoing;
use tidemill_topology::record::Headers;
use tidemill_topology::time::Timestamp;

/// A record that waits to be read back.
pub(crate) struct FedBack {
    /// Which input reads it.
    pub(crate) input: usize,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    pub(crate) timestamp: Timestamp,
    pub(crate) headers: Headers,
}

/// Records in the order in which they were sent. Their bytes lie behind each other in one buffer,
/// which is used again and again.
#[derive(Default)]
pub(crate) struct Feedback {
    pub(crate) records: Vec<FedBack>,
    bytes: Vec<u8>,
}

impl Feedback {
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(crate) fn push(&mut self, input: usize, record: &Outgoing<'_>) {
        let mut copy = |part: Option<&[u8]>| {
            part.map(|part| {
                let start = self.bytes.len();
                self.bytes.extend_from_slice(part);
                start..self.bytes.len()
            })
        };
        let (key, value) = (copy(record.key), copy(record.value));
        let Outgoing { timestamp, headers, .. } = *record;
        self.records.push(FedBack { input, key, value, timestamp, headers: headers.clone() });
    }

    pub(crate) fn key(&self, record: &FedBack) -> Option<&[u8]> {
        record.key.clone().map(|range| &self.bytes[range])
    }

    pub(crate) fn value(&self, record: &FedBack) -> Option<&[u8]> {
        record.value.clone().map(|range| &self.bytes[range])
    }

    /// Empties it and keeps its allocations.
    pub(crate) fn clear(&mut self) {
        self.records.clear();
        self.bytes.clear();
    }
}
