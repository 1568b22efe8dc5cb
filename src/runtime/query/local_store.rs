//! One store over all its tasks on this instance, in bytes.

use std::ops::ControlFlow;
use std::sync::Arc;

use tidemill_state::Committed;
use tidemill_topology::error::{Error as TopologyError, Result as TopologyResult};
use tidemill_topology::graph::TaskId;
use tidemill_topology::partition::by_key;
use tidemill_topology::store::bytes::Visit;
use tidemill_topology::store::select::{Page, Place, Select, Selected, StoredEntries, select};
use tidemill_topology::store::{KeyRange, Order, StoreIndex};
use tidemill_topology::time::Timestamp;

use super::Entries;
use super::readable::{ReadableStores, StorePlace};
use crate::status::QueryError;

/// A store of this instance; see the [module](self).
#[derive(Clone)]
pub struct LocalStore {
    stores: Arc<ReadableStores>,
    place: StorePlace,
}

/// A place between two entries of a store: a page ends there, and the next one begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The bytes of an entry in the store.
    pub stored: Vec<u8>,
    /// The partition whose entry of these bytes was the last; lower ones are done with theirs.
    pub partition: i32,
}

/// An entry, and the partition that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Partition.
    pub partition: i32,
    /// The entry.
    pub entry: Selected,
}

/// Some of the entries asked for, of several partitions, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundPage {
    /// The entries.
    pub entries: Vec<Found>,
    /// Where the next page begins; `None` when this is the last.
    pub next: Option<Cursor>,
}

impl LocalStore {
    /// The store of that name.
    ///
    /// # Errors
    /// When the topology has no such store, or the cluster's topics are not known yet.
    pub fn new(stores: &Arc<ReadableStores>, name: &str) -> Result<Self, QueryError> {
        let place = stores.place(name)?;
        Ok(Self { stores: Arc::clone(stores), place })
    }

    /// Where it is in the topology.
    #[must_use]
    pub fn place(&self) -> &StorePlace {
        &self.place
    }

    /// How many partitions it has.
    ///
    /// # Errors
    /// While that is not known.
    pub fn partitions(&self) -> Result<i32, QueryError> {
        self.place.partitions.ok_or_else(|| {
            self.unavailable("the instance starts: the topics are not known yet".to_owned())
        })
    }

    /// The partitions that can be read here.
    #[must_use]
    pub fn here(&self) -> Vec<i32> {
        self.stores.partitions(self.place.subtopology)
    }

    /// The partition of a key: where Kafka's default partitioner puts its bytes. Every instance
    /// has a global store whole.
    ///
    /// # Errors
    /// While the number of partitions is not known.
    pub fn partition_of(&self, key: &[u8]) -> Result<i32, QueryError> {
        self.partitions().map(|partitions| by_key(key, partitions))
    }

    /// The task that has a partition of it.
    #[must_use]
    pub fn task(&self, partition: i32) -> TaskId {
        TaskId { subtopology: self.place.subtopology, partition }
    }

    fn unavailable(&self, reason: String) -> QueryError {
        QueryError::Unavailable { what: format!("store {}", self.place.spec.name), reason }
    }

    /// Why a partition cannot be read here.
    fn absent(&self, partition: i32) -> QueryError {
        let task = self.task(partition);
        if self.stores.is_here(task) {
            return self.unavailable(format!("task {task} restores it"));
        }
        QueryError::Elsewhere {
            what: format!("store {}", self.place.spec.name),
            task: task.to_string(),
        }
    }

    fn read<T>(
        &self,
        partition: i32,
        mut read: impl FnMut(&InView<'_>) -> TopologyResult<T>,
    ) -> Result<T, QueryError> {
        let name = &self.place.spec.name;
        let index = self.place.index;
        let found = self.stores.read(self.task(partition), |committed| {
            read(&InView { committed, index, name }).map_err(|error| QueryError::Failed {
                what: format!("store {name}"),
                reason: error.to_string(),
            })
        })?;
        found.ok_or_else(|| self.absent(partition))
    }

    /// The entry of one key of a store that has one a key, in one partition.
    ///
    /// # Errors
    /// When the partition cannot be read here.
    pub fn one(&self, partition: i32, question: &Select) -> Result<Option<Selected>, QueryError> {
        let mut page = self.read(partition, |store| self.select(store, question))?;
        Ok(page.entries.pop())
    }

    fn select(&self, store: &InView<'_>, question: &Select) -> TopologyResult<Page> {
        select(self.place.spec.kind, store, question)
    }

    /// A page of what is asked for, of these partitions, merged by the bytes of the entries.
    /// `after` is where the page before ended; that of the question itself is of no concern.
    ///
    /// # Errors
    /// When one of the partitions cannot be read here: nothing is left out in silence.
    pub fn page(
        &self,
        partitions: &[i32],
        question: &Select,
        after: Option<&Cursor>,
    ) -> Result<FoundPage, QueryError> {
        let mut pages = Vec::new();
        for partition in partitions {
            let question = Select { after: place_in(*partition, after), ..question.clone() };
            let page = self.read(*partition, |store| self.select(store, &question))?;
            pages.push((*partition, page));
        }
        Ok(merge(pages, question.order, question.limit))
    }

    /// Every entry whose bytes in the store lie in `from..to`, of every partition here, at most
    /// `limit` of them, in the order of their keys within each partition. What is of one partition
    /// is of one commit.
    ///
    /// # Errors
    /// When no partition can be read here.
    pub fn scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Entries, QueryError> {
        let here = self.here();
        if here.is_empty() {
            return Err(self.unavailable("no task of this instance has it running".to_owned()));
        }
        let mut found = Vec::new();
        for partition in here {
            self.read(partition, |store| {
                store.scan(KeyRange { from, to }, Order::Forward, &mut |key, value| {
                    if found.len() >= limit {
                        return ControlFlow::Break(());
                    }
                    found.push((key.to_vec(), value.to_vec()));
                    ControlFlow::Continue(())
                })
            })?;
        }
        Ok(found)
    }

    /// About how many entries these partitions have.
    ///
    /// # Errors
    /// When one of them cannot be read here.
    pub fn approximate_entries(&self, partitions: &[i32]) -> Result<u64, QueryError> {
        let counts = partitions.iter().map(|partition| {
            self.read(*partition, |store| Ok(store.committed.approximate_entries(store.index)))
        });
        counts.sum()
    }
}

/// Where a partition goes on behind a place.
fn place_in(partition: i32, after: Option<&Cursor>) -> Option<Place> {
    let Cursor { stored, partition: last } = after?;
    Some(Place { stored: stored.clone(), included: partition > *last })
}

/// One page of several partitions' pages.
#[must_use]
pub fn merge(pages: Vec<(i32, Page)>, order: Order, limit: usize) -> FoundPage {
    let comes_first = |left: &(Vec<u8>, i32), right: &(Vec<u8>, i32)| {
        let by_bytes = match order {
            Order::Forward => left.0.cmp(&right.0),
            Order::Backward => right.0.cmp(&left.0),
        };
        by_bytes.then(left.1.cmp(&right.1))
    };
    // Behind the place that one of them has not looked at yet, nothing may come.
    let unread = pages.iter().filter_map(|(partition, page)| {
        page.reached.as_ref().map(|reached| (reached.clone(), *partition))
    });
    let mut end = unread.min_by(|left, right| comes_first(left, right));
    let mut found: Vec<Found> = pages
        .into_iter()
        .flat_map(|(partition, page)| {
            page.entries.into_iter().map(move |entry| Found { partition, entry })
        })
        .collect();
    let place = |found: &Found| (found.entry.stored.clone(), found.partition);
    found.sort_by(|left, right| comes_first(&place(left), &place(right)));
    if let Some(end) = &end {
        found.retain(|found| comes_first(&place(found), end).is_le());
    }
    if found.len() > limit {
        found.truncate(limit);
        end = found.last().map(place);
    }
    let next = end.map(|(stored, partition)| Cursor { stored, partition });
    FoundPage { entries: found, next }
}

/// A store in a task's committed state.
struct InView<'v> {
    committed: &'v Committed<'v>,
    index: StoreIndex,
    name: &'v str,
}

impl StoredEntries for InView<'_> {
    fn get(&self, key: &[u8], value: &mut Vec<u8>) -> TopologyResult<bool> {
        let found = self.committed.get(self.index, key, value);
        found.map_err(|error| TopologyError::store(self.name, error))
    }

    fn scan(&self, range: KeyRange<'_>, order: Order, visit: &mut Visit<'_>) -> TopologyResult {
        let scanned = self.committed.scan(self.index, range, order, visit);
        scanned.map_err(|error| TopologyError::store(self.name, error))
    }

    fn time(&self) -> Timestamp {
        self.committed.time(self.index)
    }
}
