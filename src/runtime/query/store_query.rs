//! A store as a program asks it: with its types.

use std::collections::{BTreeMap, VecDeque};
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds, RangeInclusive};

use tidemill_topology::error::Error as TopologyError;
use tidemill_topology::store::entry::{StoreEntry, StoreReader};
use tidemill_topology::store::merged_pages::Cursor;
use tidemill_topology::store::select::{Keys, Select, Selected};
use tidemill_topology::store::{Order, StoreKind};
use tidemill_topology::time::Timestamp;

use super::local_store::LocalStore;
use super::readable::ReadableStores;
use crate::status::{Owner, QueryError};

/// Entries that an iterator reads at once.
const READ_AHEAD: usize = 1_000;

/// The committed state of a store, as far as it is on this instance. Get one of
/// [`StreamsHandle::store`](crate::runtime::StreamsHandle::store).
///
/// Every answer is of state that a commit has made final; one look-up, or one page of a partition,
/// is of one commit. A partition that is not here is an error that names its task,
/// [`QueryError::Elsewhere`], unless [`max_lag`](Self::max_lag) lets a copy answer; one that
/// restores or moves is [`QueryError::Moving`]: ask again a little later. A key is looked for where Kafka's default partitioner puts it; a store whose
/// keys are placed in another way is asked with [`in_partition`](Self::in_partition).
pub struct StoreQuery<K, V> {
    reader: StoreReader<K, V>,
    store: LocalStore,
    partition: Option<i32>,
}

/// Entries that were selected and not read yet.
pub struct Selection<'q, K, V> {
    query: &'q StoreQuery<K, V>,
    /// The question, or what is wrong with it.
    question: Result<Select, QueryError>,
    partitions: Result<Vec<i32>, QueryError>,
    after: Option<Cursor>,
}

/// Some entries of a selection.
pub struct EntryPage<K, V> {
    /// The entries, in order.
    pub entries: Vec<StoreEntry<K, V>>,
    /// Where the next page begins, for [`Selection::after`]; `None` when this is the last.
    pub next: Option<Cursor>,
}

/// All entries of a selection, read in pages as they are needed.
pub struct EntryIterator<'q, K, V> {
    selection: Option<Selection<'q, K, V>>,
    read: VecDeque<StoreEntry<K, V>>,
    types: PhantomData<(K, V)>,
}

impl<K: 'static, V: 'static> StoreQuery<K, V> {
    pub(crate) fn new(store: LocalStore, stores: &ReadableStores) -> Result<Self, QueryError> {
        let reader = stores
            .topology()
            .store_reader(&store.place().spec.name)
            .map_err(|error| QueryError::Misfit(error.to_string()))?;
        Ok(Self { reader, store, partition: None })
    }

    /// Asks one partition alone, and looks for keys there wherever their hash would put them.
    #[must_use]
    pub fn in_partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Reads the copies that this instance keeps of tasks that run elsewhere, too
    /// (`standby.replicas`), as long as they lag no more than so many records behind. What such a copy
    /// answers was committed, but something newer may have been since.
    #[must_use]
    pub fn max_lag(mut self, records: u64) -> Self {
        self.store = self.store.max_lag(Some(records));
        self
    }

    /// The partitions that can be asked here now.
    #[must_use]
    pub fn partitions_here(&self) -> Vec<i32> {
        self.store.here()
    }

    /// The partitions of which a copy is here, and how many records each lags behind.
    #[must_use]
    pub fn copies_here(&self) -> BTreeMap<i32, u64> {
        self.store.copies_here()
    }

    /// The other instances that keep a copy of what a key is in, the least behind first.
    ///
    /// # Errors
    /// As [`owner`](Self::owner).
    pub fn copiers(&self, key: &K) -> Result<Vec<Owner>, QueryError> {
        Ok(self.store.copiers(self.partition(&self.key(key)?)?))
    }

    fn partition(&self, key: &[u8]) -> Result<i32, QueryError> {
        self.partition.map_or_else(|| self.store.partition_of(key), Ok)
    }

    /// The instance that has a key, this one or another; `None` while nobody is known to have it.
    ///
    /// # Errors
    /// When the key has no bytes, or the cluster's topics are not known yet.
    pub fn owner(&self, key: &K) -> Result<Option<Owner>, QueryError> {
        Ok(self.store.owner(self.partition(&self.key(key)?)?))
    }

    /// The value under a key; in a versioned store the latest.
    ///
    /// # Errors
    /// When the store is windowed, or the key's partition cannot be read here.
    pub fn get(&self, key: &K) -> Result<Option<V>, QueryError> {
        Ok(self.get_entry(key)?.map(|entry| entry.value))
    }

    /// As [`get`](Self::get), with the value's timestamp.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_entry(&self, key: &K) -> Result<Option<StoreEntry<K, V>>, QueryError> {
        self.one(key, Timestamp::MAX)
    }

    /// The value that was valid at a time, in a versioned store; its timestamp tells since when.
    ///
    /// # Errors
    /// When the store keeps no versions, or the key's partition cannot be read here.
    pub fn get_as_of(
        &self,
        key: &K,
        at: Timestamp,
    ) -> Result<Option<StoreEntry<K, V>>, QueryError> {
        match self.reader.kind() {
            StoreKind::Versioned { .. } => self.one(key, at),
            _ => Err(self.misfit("keeps no versions: use get")),
        }
    }

    fn one(&self, key: &K, at: Timestamp) -> Result<Option<StoreEntry<K, V>>, QueryError> {
        if self.reader.kind().retention_ms().is_some() {
            return Err(self.misfit("keeps windows: use fetch"));
        }
        let key = self.key(key)?;
        let partition = self.partition(&key)?;
        let times = (Timestamp::MIN, at);
        let question = Select { times, ..Select::new(Keys::One(key), 1) };
        let found = self.store.one(partition, &question)?.found;
        found.map(|found| self.entry(&found)).transpose()
    }

    /// The entries of a range of keys, in the order of the keys' bytes, of every partition.
    /// In windowed stores the windows of those keys, by segment first.
    pub fn range(&self, keys: impl RangeBounds<K>) -> Selection<'_, K, V> {
        self.select(self.range_bytes(&keys), None)
    }

    /// Every entry.
    #[must_use]
    pub fn all(&self) -> Selection<'_, K, V> {
        self.select(Ok(Keys::ALL), None)
    }

    /// The entries whose keys' bytes start with these.
    #[must_use]
    pub fn prefix(&self, prefix: &[u8]) -> Selection<'_, K, V> {
        self.select(Ok(Keys::prefix(prefix.to_vec())), None)
    }

    /// A key's windows that start within these times, or its sessions that overlap them.
    #[must_use]
    pub fn fetch(&self, key: &K, times: RangeInclusive<Timestamp>) -> Selection<'_, K, V> {
        let key = self.windowed().and_then(|()| self.key(key));
        let partition = match (self.partition, &key) {
            (None, Ok(key)) => self.store.partition_of(key).map(Some),
            (partition, _) => Ok(partition),
        };
        let mut selection = self.select(key.map(Keys::One), Some(times));
        selection.partitions = partition.map(|partition| partition.into_iter().collect());
        selection
    }

    /// The windows of every key that start within these times, or the sessions that overlap them.
    #[must_use]
    pub fn fetch_all(&self, times: RangeInclusive<Timestamp>) -> Selection<'_, K, V> {
        self.select(self.windowed().map(|()| Keys::ALL), Some(times))
    }

    /// About how many entries the store has on this instance.
    ///
    /// # Errors
    /// When a partition cannot be read any more.
    pub fn approximate_entries(&self) -> Result<u64, QueryError> {
        let here = self.partition.map_or_else(|| self.store.here(), |partition| vec![partition]);
        Ok(self.store.approximate_entries(&here)?.found)
    }

    fn select(
        &self,
        keys: Result<Keys, QueryError>,
        times: Option<RangeInclusive<Timestamp>>,
    ) -> Selection<'_, K, V> {
        let question = keys.map(|keys| {
            let mut question = Select::new(keys, READ_AHEAD);
            if let Some(times) = times {
                question.times = times.into_inner();
            }
            question
        });
        let partitions = match self.partition {
            Some(partition) => Ok(vec![partition]),
            None => self.store.partitions().map(|partitions| (0..partitions).collect()),
        };
        Selection { query: self, question, partitions, after: None }
    }

    fn range_bytes(&self, keys: &impl RangeBounds<K>) -> Result<Keys, QueryError> {
        let behind = |key: &K| {
            let mut bytes = self.key(key)?;
            bytes.push(0);
            Ok(bytes)
        };
        let from = match keys.start_bound() {
            Bound::Included(key) => self.key(key)?,
            Bound::Excluded(key) => behind(key)?,
            Bound::Unbounded => Vec::new(),
        };
        let to = match keys.end_bound() {
            Bound::Included(key) => Some(behind(key)?),
            Bound::Excluded(key) => Some(self.key(key)?),
            Bound::Unbounded => None,
        };
        Ok(Keys::Range(from, to))
    }

    fn windowed(&self) -> Result<(), QueryError> {
        match self.reader.kind().retention_ms() {
            Some(_) => Ok(()),
            None => Err(self.misfit("keeps no windows: use get or range")),
        }
    }

    fn misfit(&self, what: &str) -> QueryError {
        QueryError::Misfit(format!("store {} {what}", self.reader.name()))
    }

    fn key(&self, key: &K) -> Result<Vec<u8>, QueryError> {
        self.reader.key_bytes(key).map_err(|error| QueryError::Misfit(error.to_string()))
    }

    fn entry(&self, found: &Selected) -> Result<StoreEntry<K, V>, QueryError> {
        let failed = |error: TopologyError| QueryError::Failed {
            what: format!("store {}", self.reader.name()),
            reason: error.to_string(),
        };
        self.reader.entry(found).map_err(failed)
    }
}

impl<'q, K: 'static, V: 'static> Selection<'q, K, V> {
    /// In descending order.
    #[must_use]
    pub fn reverse(mut self) -> Self {
        if let Ok(question) = &mut self.question {
            question.order = match question.order {
                Order::Forward => Order::Backward,
                Order::Backward => Order::Forward,
            };
        }
        self
    }

    /// Of a versioned store, what was valid at a time instead of the latest.
    #[must_use]
    pub fn as_of(mut self, at: Timestamp) -> Self {
        if let Ok(question) = &mut self.question {
            question.times.1 = at;
        }
        self
    }

    /// Goes on where a page ended.
    #[must_use]
    pub fn after(mut self, cursor: Option<Cursor>) -> Self {
        self.after = cursor;
        self
    }

    /// At most `limit` entries. A page may be shorter and yet not be the last: where much had to be
    /// passed over, or entries are large.
    ///
    /// # Errors
    /// When the question does not fit the store, or a partition cannot be read here.
    pub fn page(&self, limit: usize) -> Result<EntryPage<K, V>, QueryError> {
        let question = Select { limit: limit.max(1), ..self.question.clone()? };
        let partitions = self.partitions.clone()?;
        let page = self.query.store.page(&partitions, &question, self.after.as_ref())?.found;
        let entries = page.entries.iter().map(|(_, found)| self.query.entry(found));
        Ok(EntryPage { entries: entries.collect::<Result<_, _>>()?, next: page.next })
    }

    /// All entries, read in pages: other commits may come between two pages.
    #[must_use]
    pub fn entries(self) -> EntryIterator<'q, K, V> {
        EntryIterator { selection: Some(self), read: VecDeque::new(), types: PhantomData }
    }
}

impl<K: 'static, V: 'static> Iterator for EntryIterator<'_, K, V> {
    type Item = Result<StoreEntry<K, V>, QueryError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.read.pop_front() {
                return Some(Ok(entry));
            }
            let selection = self.selection.take()?;
            match selection.page(READ_AHEAD) {
                Ok(page) => {
                    self.read = page.entries.into();
                    if page.next.is_some() {
                        self.selection = Some(selection.after(page.next));
                    }
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
