//! One store over all its tasks on this instance, in bytes.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use tidemill_state::Committed;
use tidemill_topology::error::{Error as TopologyError, Result as TopologyResult};
use tidemill_topology::partition::by_key;
use tidemill_topology::store::bytes::Visit;
use tidemill_topology::store::merged_pages::{Cursor, MergedPage};
use tidemill_topology::store::select::{Page, Place, Select, Selected, StoredEntries, select};
use tidemill_topology::store::{KeyRange, Order, StoreKind};
use tidemill_topology::time::Timestamp;

use super::Entries;
use super::readable::{ReadableStores, StorePlace};
use crate::status::{Holder, Owner, QueryError, StorePart};

/// A store of this instance; see the [module](self).
#[derive(Clone)]
pub struct LocalStore {
    stores: Arc<ReadableStores>,
    place: StorePlace,
    /// How far behind a copy may be that is read in the place of a task.
    max_lag: Option<u64>,
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<T> {
    /// It.
    pub found: T,
    /// Records that the copy lagged behind which it was read from, the most of several; `None` when
    /// all is of the tasks themselves.
    pub lag: Option<u64>,
}

impl LocalStore {
    /// The store of that name.
    ///
    /// # Errors
    /// When the topology has no such store, or the cluster's topics are not known yet.
    pub fn new(stores: &Arc<ReadableStores>, name: &str) -> Result<Self, QueryError> {
        let place = stores.place(name)?;
        Ok(Self { stores: Arc::clone(stores), place, max_lag: None })
    }

    /// Reads copies of tasks that run elsewhere, as long as they lag no more records behind; `None`
    /// for the tasks of this instance alone.
    #[must_use]
    pub fn max_lag(mut self, records: Option<u64>) -> Self {
        self.max_lag = records;
        self
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

    /// The partitions of which a copy is here, and how many records each lags behind.
    #[must_use]
    pub fn copies_here(&self) -> BTreeMap<i32, u64> {
        self.stores.copied_partitions(&self.place)
    }

    /// The partition of a key: where Kafka's default partitioner puts its bytes. Every instance
    /// has a global store whole.
    ///
    /// # Errors
    /// While the number of partitions is not known.
    pub fn partition_of(&self, key: &[u8]) -> Result<i32, QueryError> {
        self.partitions().map(|partitions| by_key(key, partitions))
    }

    /// Who has these partitions, each instance once; this one where a copy of its own will do.
    #[must_use]
    pub fn holders(&self, partitions: &[i32]) -> Vec<StorePart> {
        let mut parts: Vec<StorePart> = Vec::new();
        for partition in partitions {
            let task = self.place.task(*partition);
            let (holder, copies) = match self.max_lag {
                _ if self.stores.is_readable(task) => (Holder::Here, Vec::new()),
                Some(_) if self.has_copy(*partition) => (Holder::Here, Vec::new()),
                Some(_) => (self.stores.holder(task), self.stores.copiers(task)),
                None => (self.stores.holder(task), Vec::new()),
            };
            let is_same = |part: &&mut StorePart| part.holder == holder && part.copies == copies;
            match parts.iter_mut().find(is_same) {
                Some(part) => part.partitions.push(*partition),
                None => parts.push(StorePart { partitions: vec![*partition], holder, copies }),
            }
        }
        parts
    }

    /// Whether a copy is here that will do.
    fn has_copy(&self, partition: i32) -> bool {
        let lag = self.stores.copy_lag(&self.place, partition);
        lag.is_some_and(|lag| self.max_lag.is_some_and(|max_lag| lag <= max_lag))
    }

    /// The other instances that keep a copy of a partition.
    #[must_use]
    pub fn copiers(&self, partition: i32) -> Vec<Owner> {
        self.stores.copiers(self.place.task(partition))
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
        let holder = self.stores.holder(task);
        if let (Some(max_lag), Some(lag)) =
            (self.max_lag, self.stores.copy_lag(&self.place, partition))
            && lag > max_lag
        {
            let owner = match holder {
                Holder::Here => self.stores.own(),
                Holder::Other(owner) => Some(owner),
                Holder::Nobody => None,
            };
            return QueryError::Behind { what, task: id, lag, max_lag, owner };
        }
        match holder {
            Holder::Here => QueryError::Moving { what, task: id, owner: self.stores.own() },
            Holder::Other(owner) => QueryError::Elsewhere { what, task: id, owner: Some(owner) },
            Holder::Nobody => QueryError::Elsewhere { what, task: id, owner: None },
        }
    }

    fn read<T>(
        &self,
        partition: i32,
        mut read: impl FnMut(&InView<'_>) -> TopologyResult<T>,
    ) -> Result<Found<T>, QueryError> {
        let name = &self.place.spec.name;
        let mut read = |committed: &Committed<'_>| {
            read(&InView::new(committed, &self.place)).map_err(|error| QueryError::Failed {
                what: format!("store {name}"),
                reason: error.to_string(),
            })
        };
        let task = self.place.task(partition);
        if let Some(found) = self.stores.read(task, &mut read)? {
            return Ok(Found { found, lag: None });
        }
        let Some(max_lag) = self.max_lag else { return Err(self.absent(partition)) };
        if let Some((found, lag)) =
            self.stores.read_copy(&self.place, partition, max_lag, &mut read)?
        {
            return Ok(Found { found, lag: Some(lag) });
        }
        // Its copy goes when the task begins to run, which may have been just now.
        if let Some(found) = self.stores.read(task, &mut read)? {
            return Ok(Found { found, lag: None });
        }
        Err(self.absent(partition))
    }

    /// The entry of one key of a store that has one a key, in one partition.
    ///
    /// # Errors
    /// When the partition cannot be read here.
    pub fn one(
        &self,
        partition: i32,
        question: &Select,
    ) -> Result<Found<Option<Selected>>, QueryError> {
        let Found { found: mut page, lag } =
            self.read(partition, |store| self.select(store, question))?;
        Ok(Found { found: page.entries.pop(), lag })
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
    ) -> Result<Found<MergedPage<Selected>>, QueryError> {
        let (mut pages, mut most) = (Vec::new(), None);
        for partition in partitions {
            let question = Select { after: place_in(*partition, after), ..question.clone() };
            let Found { found: page, lag } =
                self.read(*partition, |store| self.select(store, &question))?;
            most = most.max(lag);
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
        Ok(Found { found: MergedPage::of(pages, question.order, question.limit), lag: most })
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
    pub fn approximate_entries(&self, partitions: &[i32]) -> Result<Found<u64>, QueryError> {
        let mut sum = Found { found: 0, lag: None };
        for partition in partitions {
            let counted = self.read(*partition, |store| {
                Ok(store.committed.approximate_entries(store.place.index))
            })?;
            sum = Found { found: sum.found + counted.found, lag: sum.lag.max(counted.lag) };
        }
        Ok(sum)
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
    place: &'v StorePlace,
    time: OnceCell<Timestamp>,
}

impl<'v> InView<'v> {
    fn new(committed: &'v Committed<'v>, place: &'v StorePlace) -> Self {
        Self { committed, place, time: OnceCell::new() }
    }

    /// The start of the last segment that the store has. A copy keeps no clock, as no operator runs
    /// over it: so it hides what retention has passed a segment later than its owner.
    fn last_segment(&self) -> Timestamp {
        let (StoreKind::Window { segment_ms, .. }
        | StoreKind::TimestampedWindow { segment_ms, .. }
        | StoreKind::Session { segment_ms, .. }) = self.place.spec.kind
        else {
            return Timestamp::UNKNOWN;
        };
        let mut time = Timestamp::UNKNOWN;
        // A failure shows when the entries themselves are read.
        let _ = self.scan(KeyRange::ALL, Order::Backward, &mut |key, _| {
            if let Some(number) = key.first_chunk() {
                time = Timestamp::new(i64::from_be_bytes(*number).saturating_mul(segment_ms));
            }
            ControlFlow::Break(())
        });
        time
    }
}

impl StoredEntries for InView<'_> {
    fn get(&self, key: &[u8], value: &mut Vec<u8>) -> TopologyResult<bool> {
        let found = self.committed.get(self.place.index, key, value);
        found.map_err(|error| TopologyError::store(&self.place.spec.name, error))
    }

    fn scan(&self, range: KeyRange<'_>, order: Order, visit: &mut Visit<'_>) -> TopologyResult {
        let scanned = self.committed.scan(self.place.index, range, order, visit);
        scanned.map_err(|error| TopologyError::store(&self.place.spec.name, error))
    }

    fn time(&self) -> Timestamp {
        *self.time.get_or_init(|| match self.committed.time(self.place.index) {
            Timestamp::UNKNOWN => self.last_segment(),
            time => time,
        })
    }
}
