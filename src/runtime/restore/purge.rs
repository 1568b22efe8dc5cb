//! Deleting what internal topics do not need any more: it frees disk on the brokers, and what fails is
//! tried again with the next round.

use tidemill_topology::time::Timestamp;

use super::{StateUpdater, TIMEOUT};
use crate::kafka::{
    Admin, Cluster, Consumer, EndOffset, Isolation, Offset, OffsetSpec, TopicPartition,
};

impl<C: Cluster> StateUpdater<C> {
    pub(super) fn purge(&self, below: &[(TopicPartition, Offset)]) {
        if let Err(error) = self.admin.delete_records(below, TIMEOUT) {
            tracing::debug!(%error, "purge of internal topics");
        }
    }

    /// Deletes what lies before the first record that is as young as a time: nothing before it is.
    /// A log without such a record stays.
    pub(super) fn purge_older(&self, than: &[(TopicPartition, Timestamp)]) {
        let mut below = Vec::new();
        for (partition, time) in than {
            let (log, spec) = (std::slice::from_ref(partition), OffsetSpec::AtTime(time.millis()));
            match self.consumer.list_offsets(log, spec, Isolation::ReadCommitted, TIMEOUT) {
                Ok(found) => below.extend(found.into_iter().filter_map(purged)),
                Err(error) => tracing::debug!(%partition, %error, "purge of a windowed changelog"),
            }
        }
        if !below.is_empty() {
            self.purge(&below);
        }
    }
}

fn purged(first: EndOffset) -> Option<(TopicPartition, Offset)> {
    let offset = first.offset.filter(|offset| *offset > Offset(0))?;
    Some((first.partition, offset))
}
