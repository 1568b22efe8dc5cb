//! Reads a store from its changelog: every entry that is committed now, in the changelog's form.
//!
//! The changelog and not an instance is asked: it has the store whole, whoever owns its tasks and
//! whether or not any runs, and reading it costs no instance anything. Each partition is restored
//! into a store of its own below a scratch folder, as a task would do, so that memory stays
//! bounded and entries come out in the order of the store's keys.

use std::ops::ControlFlow;
use std::path::Path;

use tidemill_state::{ApplyPolicy, Position, StateMemory, TaskStores};
use tidemill_topology::store::spec::ChangelogEntry;
use tidemill_topology::store::{KeyRange, Order, StoreIndex, StoreKind};
use tidemill_topology::time::Timestamp;

use super::committed_range::{CommittedRange, RangeReader};
use super::error::OperationError;
use super::footprint::{Footprint, LoggedStore};
use crate::kafka::{Cluster, Message};

/// Memory of the scratch store.
const MEMORY_BYTES: usize = 64 << 20;
/// Records of the changelog that are put into the scratch store at once.
const BATCH_BYTES: usize = 4 << 20;
/// The one store of a scratch task.
const STORE: StoreIndex = StoreIndex(0);

/// An entry of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreEntry<'a> {
    /// The partition of the changelog, which is that of the task.
    pub partition: i32,
    /// The key, as the changelog has it.
    pub key: &'a [u8],
    /// The value; null only in a versioned store, for a time without a value.
    pub value: Option<&'a [u8]>,
    /// The entry's timestamp, in milliseconds since 1970; `None` where its store keeps none.
    pub timestamp: Option<i64>,
}

/// Hands every committed entry of a store to `each`, partition by partition, in the order of the
/// keys. `shown` hears how many changelog offsets of how many are read. Returns how many entries
/// there were.
///
/// # Errors
/// When there is no such store, the cluster does not answer, the scratch folder cannot be
/// written, or `each` fails.
pub fn export_store<C: Cluster>(
    cluster: &C,
    footprint: &Footprint,
    store: &str,
    scratch: &Path,
    mut shown: impl FnMut(u64, u64),
    mut each: impl FnMut(StoreEntry<'_>) -> Result<(), OperationError>,
) -> Result<u64, OperationError> {
    let store = footprint.store(store)?;
    require_changelog(footprint, store)?;
    let mut reader = RangeReader::open(cluster, &footprint.application_id)?;
    let partitions: Vec<_> = (0..store.partitions).map(|number| store.partition(number)).collect();
    let ranges = reader.ranges(&partitions)?;
    let length = |range: &CommittedRange| u64::try_from(range.end.0 - range.first.0).unwrap_or(0);
    let total = ranges.iter().map(length).sum();
    let (mut done, mut entries) = (0, 0);
    for range in &ranges {
        let folder = scratch.join(range.partition.partition.to_string());
        let mut restored = restore(&mut reader, range, store, &folder, |read| {
            shown(done + read, total);
        })?;
        done += length(range);
        shown(done, total);
        entries += scan(&mut restored, store.spec.kind, range.partition.partition, &mut each)?;
        drop(restored);
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(entries)
}

/// A changelog is made by the first instance that starts.
pub(super) fn require_changelog(
    footprint: &Footprint,
    store: LoggedStore<'_>,
) -> Result<(), OperationError> {
    if footprint.exists(&store.changelog.topic) {
        return Ok(());
    }
    Err(OperationError::NoTopic {
        topic: store.changelog.topic.to_string(),
        next: "the application makes it when it is started for the first time",
    })
}

/// Restores one partition into a store of its own.
fn restore<C: Cluster>(
    reader: &mut RangeReader<C>,
    range: &CommittedRange,
    store: LoggedStore<'_>,
    folder: &Path,
    mut shown: impl FnMut(u64),
) -> Result<TaskStores, OperationError> {
    std::fs::create_dir_all(folder)?;
    let mut spec = store.spec.clone();
    spec.persistent = true;
    let policy = ApplyPolicy { bytes: BATCH_BYTES, interval_ms: 0 };
    let memory = StateMemory::new(MEMORY_BYTES);
    let mut stores = TaskStores::open("export", &[spec], Some(folder), &memory, policy)?;
    let mut batch = Batch::default();
    reader.read(std::slice::from_ref(range), |_, message| {
        batch.push(message);
        if batch.bytes >= BATCH_BYTES {
            batch.put(&mut stores)?;
            shown(u64::try_from(batch.next - range.first.0).unwrap_or(0));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    batch.put(&mut stores)?;
    Ok(stores)
}

/// Records of a changelog that go into a store together.
#[derive(Default)]
struct Batch {
    records: Vec<(Vec<u8>, Option<Vec<u8>>, Timestamp)>,
    bytes: usize,
    /// The offset behind the last.
    next: i64,
}

impl Batch {
    fn push(&mut self, message: &impl Message) {
        let key = message.key().unwrap_or_default().to_vec();
        let value = message.value().map(<[u8]>::to_vec);
        self.bytes += key.len() + value.as_ref().map_or(0, Vec::len);
        self.next = message.offset().0 + 1;
        self.records.push((key, value, message.timestamp()));
    }

    fn put(&mut self, stores: &mut TaskStores) -> Result<(), OperationError> {
        let next = Position {
            offset: self.next,
            topic_id: None,
            leader_epoch: None,
            // The store is gone before anybody could ask.
            caught_up_at_ms: 0,
        };
        let entries = self.records.iter().map(|(key, value, timestamp)| ChangelogEntry {
            key,
            value: value.as_deref(),
            timestamp: *timestamp,
        });
        stores.restore(STORE, entries, next)?;
        self.records.clear();
        self.bytes = 0;
        Ok(())
    }
}

fn scan(
    stores: &mut TaskStores,
    kind: StoreKind,
    partition: i32,
    each: &mut impl FnMut(StoreEntry<'_>) -> Result<(), OperationError>,
) -> Result<u64, OperationError> {
    let keeps_time = kind.has_timestamps() || matches!(kind, StoreKind::Versioned { .. });
    let (mut count, mut failed) = (0, None);
    let all = KeyRange { from: &[], to: None };
    stores.bound(STORE).scan(all, Order::Forward, &mut |key, value| {
        let entry = kind.to_changelog(key, Some(value), Timestamp::UNKNOWN);
        let entry = StoreEntry {
            partition,
            key: entry.key,
            value: entry.value,
            timestamp: keeps_time.then(|| entry.timestamp.millis()),
        };
        count += 1;
        match each(entry) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    failed.map_or(Ok(count), Err)
}
