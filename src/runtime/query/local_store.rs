//! One store over all its tasks on this instance, in bytes.

use std::ops::ControlFlow;
use std::sync::Arc;

use tidemill_state::Committed;
use tidemill_topology::error::{Error as TopologyError, Result as TopologyResult};
use tidemill_topology::partition::by_key;
use tidemill_topology::store::bytes::Visit;
use tidemill_topology::store::merged_pages::{Cursor, MergedPage};
use tidemill_topology::store::select::{Page, Place, Select, Selected, StoredEntries, select};
use tidemill_topology::store::{KeyRange, Order, StoreIndex};
use tidemill_topology::time::Timestamp;

use super::Entries;
use super::readable::{ReadableStores, StorePlace};
use crate::status::{Holder, Owner, QueryError, StorePart};

/// A store of this instance; see the [module](self).
#[derive(Clone)]
pub struct LocalStore {
    stores: Arc<ReadableStores>,
    place: StorePlace,
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

    /// Who has these partitions, each instance once.
    #[must_use]
    pub fn holders(&self, partitions: &[i32]) -> Vec<StorePart> {
        let mut parts: Vec<StorePart> = Vec::new();
        for partition in partitions {
            let holder = self.stores.holder(self.place.task(*partition));
            match parts.iter_mut().find(|part| part.holder == holder) {
                Some(part) => part.partitions.push(*partition),
                None => parts.push(StorePart { partitions: vec![*partition], holder }),
            }
        }
        parts
    }

    /// The instance that has a partition; `None` while nobody is known to have it.
    #[must_use]
    pub fn owner(&self, partition: i32) -> Option<Owner> {
        match self.stores.holder(self.place.task(partition)) {
            Holder::Here => self.stores.own(),
            Holder::Other(owner) => Some(owner),
            Holder::Nobody => None,
        }
    }

    fn unavailable(&self, reason: String) -> QueryError {
        QueryError::Unavailable { what: format!("store {}", self.place.spec.name), reason }
    }

    /// Why a partition cannot be read here.
    fn absent(&self, partition: i32) -> QueryError {
        let task = self.place.task(partition);
        let what = format!("store {}", self.place.spec.name);
        let id = task.to_string();
        match self.stores.holder(task) {
            Holder::Here => QueryError::Moving { what, task: id, owner: self.stores.own() },
            Holder::Other(owner) => QueryError::Elsewhere { what, task: id, owner: Some(owner) },
            Holder::Nobody => QueryError::Elsewhere { what, task: id, owner: None },
        }
    }

    fn read<T>(
        &self,
        partition: i32,
        mut read: impl FnMut(&InView<'_>) -> TopologyResult<T>,
    ) -> Result<T, QueryError> {
        let name = &self.place.spec.name;
        let index = self.place.index;
        let found = self.stores.read(self.place.task(partition), |committed| {
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
    ) -> Result<MergedPage<Selected>, QueryError> {
        let mut pages = Vec::new();
        for partition in partitions {
            let question = Select { after: place_in(*partition, after), ..question.clone() };
            let page = self.read(*partition, |store| self.select(store, &question))?;
            let place = |stored: &[u8]| Cursor { stored: stored.to_vec(), partition: *partition };
            pages.push(MergedPage {
                next: page.reached.as_deref().map(place),
                entries: page
                    .entries
                    .into_iter()
                    .map(|found| (place(&found.stored), found))
                    .collect(),
            });
        }
        Ok(MergedPage::of(pages, question.order, question.limit))
    }

    /// Every entry of a partition whose bytes in the store lie in `from..to`, at most `limit` of
    /// them, in order, all of one commit.
    ///
    /// # Errors
    /// When the partition cannot be read here.
    pub fn scan(
        &self,
        partition: i32,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Entries, QueryError> {
        let mut found = Vec::new();
        self.read(partition, |store| {
            store.scan(KeyRange { from, to }, Order::Forward, &mut |key, value| {
                if found.len() >= limit {
                    return ControlFlow::Break(());
                }
                found.push((key.to_vec(), value.to_vec()));
                ControlFlow::Continue(())
            })
        })?;
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
