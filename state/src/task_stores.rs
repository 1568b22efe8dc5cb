//! All stores of one task, and their part of the commit and restore protocols.
//!
//! The numbers are those of the commit protocol:
//!
//! ```text
//! 1  drain_pending of each caching store, by its operator
//! 2  for_each_unlogged       hand out what changed, for the changelogs
//! 3-5  (the producer flushes, sends offsets, commits the transaction)
//!    committed               the outcome is known: committed
//! 6  apply_if_due            what is committed, with its positions, in one batch to the backend
//! ```
//!
//! If the outcome is "aborted", or the process stops knowing it, [`TaskStores::rollback`] takes
//! the place of the last two: the backend has not been touched since its position, so replaying
//! the changelog from there ([`TaskStores::restore`]) is all it takes.
//!
//! Step 6 runs only while nothing is uncommitted, directly after step 5. Later, a key may have
//! been changed again, and its committed value is gone from memory; a batch without that value,
//! yet with a position behind it, would lose it for good.
//!
//! Readers on other threads see committed state alone, through [`TaskStores::view`]; when they have
//! asked, [`TaskStores::show`] lets them, and each commit keeps what they see up to date.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tidemill_topology::error::Error as TopologyError;
use tidemill_topology::store::StoreSpec;
use tidemill_topology::store::bytes::{BytesStore, StoreIndex};
use tidemill_topology::store::spec::{ChangelogEntry, Restored};
use tidemill_topology::time::Timestamp;

use crate::committed_view::{CommittedView, SharedBackend};
use crate::error::{Result, StateError};
use crate::layered_store::LayeredStore;
use crate::memory::SharedMemory;
use crate::memory_budget::{StateMemory, TaskShare};
use crate::overlay::Changes;
use crate::position::{InputOffset, Position};
use crate::sort_buffer::SortBuffer;
use crate::statistics::{EngineProperties, StoreStatistics};
use crate::store::Store;
use crate::task_disk::TaskDisk;

/// When committed entries move on to the backend: as soon as either bound is reached.
///
/// Fewer, larger batches are cheaper: keys that change often are folded, and sorted runs are
/// longer. The price is a longer tail of the changelog to replay after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApplyPolicy {
    /// Bytes of the task's write sets.
    pub bytes: usize,
    /// Age of the oldest commit that is not applied, in ms.
    pub interval_ms: i64,
}

impl Default for ApplyPolicy {
    /// 8 MiB, 5 s.
    fn default() -> Self {
        Self { bytes: 8 << 20, interval_ms: 5_000 }
    }
}

/// What became of a request to apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The backend has everything that is committed.
    All,
    /// There was no need yet.
    NotDue,
    /// Something is uncommitted; it is done after the next commit.
    Deferred,
}

/// How long a backend that refused is left alone.
const RETRY_MS: i64 = 1_000;
/// Bytes of restored records that are sorted together.
const RESTORE_CHUNK_BYTES: usize = 8 << 20;

/// See the [module](self).
pub struct TaskStores {
    stores: Vec<Store>,
    /// How far each changelog is committed, and how far it is applied.
    positions: Vec<Positions>,
    inputs: BTreeMap<(String, i32), i64>,
    inputs_applied: BTreeMap<(String, i32), i64>,
    /// `None` if all stores live in memory.
    disk: Option<TaskDisk>,
    policy: ApplyPolicy,
    share: TaskShare,
    unapplied_since_ms: Option<i64>,
    /// What was committed and is not applied, in bytes; counted at each commit.
    unapplied_bytes: usize,
    /// When the backend refused what is committed; nothing since it took everything.
    refused_at_ms: Option<i64>,
    emptied: Vec<StoreIndex>,
    view: Arc<CommittedView>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Positions {
    committed: Option<Position>,
    applied: Option<Position>,
}

impl TaskStores {
    /// Opens the stores of a task: the persistent ones in `directory`, which the caller has
    /// locked, or all of them in memory without one.
    ///
    /// # Errors
    /// When the database cannot be opened; if it is damaged ([`StateError::is_corrupt`]), move it
    /// aside and open again.
    pub fn open(
        task: &str,
        specs: &[StoreSpec],
        directory: Option<&Path>,
        memory: &StateMemory,
        policy: ApplyPolicy,
    ) -> Result<Self> {
        if let Some(spec) = specs.iter().find(|spec| spec.name.contains('\0')) {
            return Err(StateError::Name { name: spec.name.clone() });
        }
        let on_disk = |spec: &StoreSpec| directory.is_some() && spec.persistent;
        let persistent: Vec<usize> = (0..specs.len()).filter(|at| on_disk(&specs[*at])).collect();
        let mut emptied = Vec::new();
        let mut disk = None;
        if let Some(directory) = directory.filter(|_| !persistent.is_empty()) {
            let wanted: Vec<&StoreSpec> = persistent.iter().map(|at| &specs[*at]).collect();
            let (opened, empty) = TaskDisk::open(task, directory, memory.engine(), &wanted)?;
            emptied = empty.into_iter().map(|at| StoreIndex(persistent[at])).collect();
            disk = Some(opened);
        }
        let mut stores = Vec::with_capacity(specs.len());
        let mut positions = vec![Positions::default(); specs.len()];
        for (at, spec) in specs.iter().enumerate() {
            let share = memory.open_store();
            stores.push(match &disk {
                Some(disk) if on_disk(spec) => {
                    let database = disk.database()?;
                    let applied = database.position(&spec.name)?;
                    positions[at] = Positions { committed: applied, applied };
                    let family = database.column_family(&spec.name);
                    let marks = || database.expiry(&spec.name);
                    Store::Disk(LayeredStore::new(spec.clone(), family, marks, share))
                }
                _ => {
                    let memory = SharedMemory::new(spec);
                    let marks = SharedMemory::of_a_map;
                    Store::Memory(LayeredStore::new(spec.clone(), memory, marks, share))
                }
            });
        }
        let inputs = match &disk {
            Some(disk) => disk.database()?.inputs()?,
            None => BTreeMap::new(),
        };
        let mut backends = Vec::with_capacity(specs.len());
        for store in &stores {
            backends.push(match (store, &disk) {
                (Store::Disk(store), Some(disk)) => {
                    SharedBackend::Disk(disk.database()?.column_family(&store.spec().name))
                }
                (Store::Memory(store), _) => SharedBackend::Memory(store.backend.clone()),
                // A store on disk came with the disk.
                (Store::Disk(_), None) => continue,
            });
        }
        Ok(Self {
            view: Arc::new(CommittedView::new(backends)),
            stores,
            positions,
            inputs_applied: inputs.clone(),
            inputs,
            disk,
            policy,
            share: memory.open_task(),
            unapplied_since_ms: None,
            unapplied_bytes: 0,
            refused_at_ms: None,
            emptied,
        })
    }

    /// The stores whose entries had another layout, so that they start empty; for the log.
    #[must_use]
    pub fn emptied(&self) -> &[StoreIndex] {
        &self.emptied
    }

    /// How many stores there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.stores.len()
    }

    /// Whether the task has no stores.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stores.is_empty()
    }

    /// A store, for the operators. Indexes are those of the specs given to [`open`](Self::open).
    ///
    /// # Errors
    /// When the task has no such store.
    pub fn store(&mut self, index: StoreIndex) -> Result<&mut dyn BytesStore, TopologyError> {
        let count = self.stores.len();
        match self.stores.get_mut(index.0) {
            Some(store) => Ok(store.bytes_store()),
            None => {
                Err(TopologyError::wiring(format!("store {} of a task that has {count}", index.0)))
            }
        }
    }

    /// A store of an index that is known to be good, as those that a topology's own nodes use.
    ///
    /// # Panics
    /// When the task has no such store.
    pub fn bound(&mut self, index: StoreIndex) -> &mut dyn BytesStore {
        self.stores[index.0].bytes_store()
    }

    /// Step 2: hands out what changed since the last commit, in the changelogs' form, the newest
    /// value of each key once. Stores without a changelog of their own are left out.
    ///
    /// # Errors
    /// What `each` returns. Roll back then: what was handed out is not remembered.
    pub fn for_each_unlogged<E>(
        &mut self,
        mut each: impl FnMut(StoreIndex, ChangelogEntry<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        for (at, store) in self.stores.iter_mut().enumerate() {
            let kind = store.spec().kind;
            let is_logged = store.spec().logged && store.spec().changelog_source.is_none();
            store.write_set_mut().for_each_unlogged(|key, value, written| match is_logged {
                true => each(StoreIndex(at), kind.to_changelog(key, value, written)),
                false => Ok(()),
            })?;
        }
        Ok(())
    }

    /// Between steps 5 and 6: the changes handed out are committed, `positions` tells how far
    /// their changelogs go (a store that is not named keeps its position), and `inputs` where the
    /// task continues to read.
    ///
    /// # Errors
    /// When something was written since the changes were handed out. Nothing is changed then.
    pub fn committed(
        &mut self,
        positions: &[(StoreIndex, Position)],
        inputs: &[InputOffset],
        now_ms: i64,
    ) -> Result {
        if let Some(store) = self.stores.iter().find(|store| !store.write_set().all_handed_out()) {
            return Err(StateError::ChangedDuringCommit { store: store.spec().name.clone() });
        }
        let is_shown = self.view.is_shown();
        let mut changes = Vec::new();
        for (at, store) in self.stores.iter_mut().enumerate() {
            let mut changed = is_shown.then(|| self.view.room(at));
            store.write_set_mut().committed(changed.as_mut());
            store.rest();
            changes.extend(changed);
        }
        if is_shown {
            // Readers that lag behind by more than this are shown everything anew when they ask.
            self.view.changed(changes, self.share.bytes());
        }
        for (index, position) in positions {
            self.positions[index.0].committed = Some(*position);
        }
        for input in inputs {
            self.inputs.insert((input.topic.clone(), input.partition), input.offset);
        }
        self.unapplied_since_ms.get_or_insert(now_ms);
        self.unapplied_bytes = self.dirty_bytes();
        Ok(())
    }

    /// Step 6, when its policy says so; `now_ms` is the clock that [`committed`](Self::committed)
    /// was given. After a refusal it is due again a second later.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn apply_if_due(&mut self, now_ms: i64) -> Result<Applied> {
        let Some(since) = self.unapplied_since_ms else { return Ok(Applied::NotDue) };
        let is_old = now_ms.saturating_sub(since) >= self.policy.interval_ms;
        let bound = self.policy.bytes.min(self.share.bytes());
        let was_refused = self
            .refused_at_ms
            .is_some_and(|refused| (0..RETRY_MS).contains(&now_ms.saturating_sub(refused)));
        if was_refused || !(is_old || self.dirty_bytes() >= bound) {
            return Ok(Applied::NotDue);
        }
        let applied = self.apply();
        if applied.is_err() {
            self.refused_at_ms = Some(now_ms);
        }
        applied
    }

    /// How much of what may wait for the backend does so, if the backend refuses it; else 0. At 1
    /// nothing more should be changed until it is applied.
    #[must_use]
    pub fn refused_ratio(&self) -> f64 {
        let refused = self.refused_at_ms.map_or(0, |_| self.unapplied_bytes);
        refused as f64 / self.share.bytes().max(1) as f64
    }

    /// Step 6: moves everything committed into the backend, sorted by key, with the positions and
    /// input offsets, in one batch.
    ///
    /// # Errors
    /// When the batch cannot be written. Nothing is lost: the write sets keep everything, reads
    /// go on, and the call may be repeated.
    pub fn apply(&mut self) -> Result<Applied> {
        if self.has_uncommitted() {
            return Ok(Applied::Deferred);
        }
        if self.unapplied_since_ms.is_none() {
            return Ok(Applied::All);
        }
        self.stores.iter_mut().for_each(Store::rest);
        // Readers must find in their copy whatever the backend is about to get.
        self.view.fold();
        self.apply_to_disk()?;
        for store in &mut self.stores {
            store.applied();
        }
        for positions in &mut self.positions {
            positions.applied = positions.committed;
        }
        self.inputs_applied.clone_from(&self.inputs);
        self.has_applied();
        self.view.applied();
        Ok(Applied::All)
    }

    fn apply_to_disk(&mut self) -> Result {
        self.revive_disk()?;
        let written = self.write_batch();
        self.note_write(written)
    }

    fn note_write(&mut self, written: Result) -> Result {
        if let Some(disk) = &mut self.disk {
            disk.note(&written);
        }
        written
    }

    /// Opens the database again if it failed.
    fn revive_disk(&mut self) -> Result {
        let Some(disk) = self.disk.as_mut().filter(|disk| disk.has_failed()) else { return Ok(()) };
        disk.look_for_room()?;
        let mut stores: Vec<_> = self
            .stores
            .iter_mut()
            .filter_map(|store| match store {
                Store::Disk(store) => Some(store),
                Store::Memory(_) => None,
            })
            .collect();
        for store in &mut stores {
            store.backend.let_go();
            if let Some(expiry) = &mut store.expiry {
                expiry.backend.let_go();
            }
        }
        self.view.replace_backends(|_, backend| {
            if let SharedBackend::Disk(family) = backend {
                family.let_go();
            }
        });
        disk.reopen(&stores.iter().map(|store| store.spec()).collect::<Vec<_>>())?;
        let database = disk.database()?;
        for store in stores {
            store.backend = database.column_family(&store.spec().name);
            let marks = database.expiry(&store.spec().name);
            if let Some(expiry) = &mut store.expiry {
                expiry.backend = marks;
            }
        }
        let stores = &self.stores;
        self.view.replace_backends(|at, backend| {
            if let SharedBackend::Disk(family) = backend {
                *family = database.column_family(&stores[at].spec().name);
            }
        });
        Ok(())
    }

    fn write_batch(&self) -> Result {
        let Some(disk) = &self.disk else { return Ok(()) };
        let mut batch = disk.database()?.batch();
        for (store, positions) in self.stores.iter().zip(&self.positions) {
            let Store::Disk(store) = store else { continue };
            if store.write_set.has_unapplied() {
                store.write_set.write_unapplied(&mut batch.store(&store.spec().name)?);
            }
            if let Some(expiry) = store.expiry.as_ref().filter(|expiry| expiry.has_changes()) {
                expiry.write_changes(&mut batch.expiry(&store.spec().name)?);
            }
            if let Some(position) =
                positions.committed.filter(|_| positions.committed != positions.applied)
            {
                batch.position(&store.spec().name, &position);
            }
        }
        for ((topic, partition), offset) in &self.inputs {
            let key = (topic.clone(), *partition);
            if self.inputs_applied.get(&key) != Some(offset) {
                batch.input(&InputOffset { topic: key.0, partition: key.1, offset: *offset });
            }
        }
        batch.write()
    }

    /// Drops everything that the backend does not have, committed or not. Each store then has to
    /// be restored from its [`position`](Self::position).
    pub fn rollback(&mut self) {
        self.view.hide();
        for store in &mut self.stores {
            store.clear();
            store.rest();
        }
        for positions in &mut self.positions {
            positions.committed = positions.applied;
        }
        self.inputs.clone_from(&self.inputs_applied);
        self.has_applied();
    }

    /// Nothing waits for the backend any more.
    fn has_applied(&mut self) {
        self.unapplied_since_ms = None;
        self.unapplied_bytes = 0;
        self.refused_at_ms = None;
    }

    /// How far the store's backend is: where restoring it begins. `None`: from the earliest.
    #[must_use]
    pub fn position(&self, index: StoreIndex) -> Option<Position> {
        self.positions.get(index.0).and_then(|positions| positions.applied)
    }

    /// How far the store is with what is committed and not applied.
    #[must_use]
    pub fn committed_position(&self, index: StoreIndex) -> Option<Position> {
        self.positions.get(index.0).and_then(|positions| positions.committed)
    }

    /// Where the task continues to read an input, as of its last commit. Offsets that the group
    /// has committed below it mean that someone reset them while the state stayed.
    #[must_use]
    pub fn input_offset(&self, topic: &str, partition: i32) -> Option<i64> {
        self.inputs.get(&(topic.to_owned(), partition)).copied()
    }

    /// Puts committed records of a changelog straight into the store's backend, and its position
    /// behind them. A crash within may leave records without the position, which restores them
    /// once more. Returns how many records there were.
    ///
    /// # Errors
    /// When the task has uncommitted changes, a record is not of the store's layout, or the engine
    /// cannot be written.
    pub fn restore<'r>(
        &mut self,
        index: StoreIndex,
        records: impl IntoIterator<Item = ChangelogEntry<'r>>,
        next: Position,
    ) -> Result<u64> {
        if self.apply()? == Applied::Deferred {
            return Err(StateError::NotIdle { store: self.stores[index.0].spec().name.clone() });
        }
        self.revive_disk()?;
        // The cache would go stale.
        self.stores[index.0].clear();
        self.stores[index.0].rest();
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let mut buffer = SortBuffer::default();
        let mut count = 0;
        let kind = self.stores[index.0].spec().kind;
        for record in records {
            match kind.restore(record, &mut key, &mut value) {
                Some(Restored::Put) => buffer.push(&key, Some(&value)),
                Some(Restored::Delete) => buffer.push(&key, None),
                None => {
                    let store = self.stores[index.0].spec().name.clone();
                    return Err(StateError::ForeignRecord { store, key_bytes: record.key.len() });
                }
            }
            count += 1;
            if buffer.bytes() >= RESTORE_CHUNK_BYTES {
                self.put_restored(index, &mut buffer, None)?;
            }
        }
        self.put_restored(index, &mut buffer, Some(&next))?;
        self.positions[index.0] = Positions { committed: Some(next), applied: Some(next) };
        Ok(count)
    }

    fn put_restored(
        &mut self,
        index: StoreIndex,
        buffer: &mut SortBuffer,
        next: Option<&Position>,
    ) -> Result {
        let written = self.stores[index.0].put_restored(self.disk.as_ref(), buffer, next);
        self.note_write(written)
    }

    /// Removes everything a store has, and its position, in one step; it then has to be restored
    /// from the earliest.
    ///
    /// # Errors
    /// When the engine cannot be written.
    pub fn wipe(&mut self, index: StoreIndex) -> Result {
        self.view.hide();
        self.revive_disk()?;
        let store = &mut self.stores[index.0];
        store.rest();
        match (&mut *store, &self.disk) {
            (Store::Memory(store), _) => {
                store.backend.clear();
                if let Some(expiry) = &store.expiry {
                    expiry.backend.clear();
                }
            }
            (Store::Disk(store), Some(disk)) => disk.database()?.wipe(&store.spec().name)?,
            // A store on disk came with the disk.
            (Store::Disk(_), None) => {}
        }
        store.clear();
        self.positions[index.0] = Positions::default();
        Ok(())
    }

    /// Brings what the backend has to the disk.
    ///
    /// # Errors
    /// When the engine cannot be written.
    pub fn flush(&self) -> Result {
        self.disk.as_ref().map_or(Ok(()), |disk| disk.database()?.flush())
    }

    /// Closes the stores, applying what is committed; what is uncommitted is dropped, and with it
    /// what it stands upon, which the changelog has.
    ///
    /// # Errors
    /// When the engine cannot be written; nothing is lost, the changelog has it.
    pub fn close(mut self) -> Result {
        self.apply().map(|_| ())
    }

    /// What readers on other threads see of the stores.
    #[must_use]
    pub fn view(&self) -> Arc<CommittedView> {
        Arc::clone(&self.view)
    }

    /// Lets readers see what is committed, from now on until nobody has asked between two applies.
    /// False while something is uncommitted: the value that it took the place of may be gone.
    pub fn show(&mut self) -> bool {
        if self.view.is_shown() {
            return true;
        }
        if self.has_uncommitted() {
            return false;
        }
        self.view.show(self.stores.iter().map(|store| Changes::whole(store.write_set())).collect());
        true
    }

    /// Tells readers the clocks of stores that have one, as they are with the last commit.
    pub fn show_times(&self, time: impl Fn(StoreIndex) -> Timestamp) {
        self.view.set_times(time);
    }

    /// Whether anything was written since the last commit.
    #[must_use]
    pub fn has_uncommitted(&self) -> bool {
        self.stores.iter().any(|store| store.write_set().has_uncommitted())
    }

    /// Bytes of the write sets that the backend does not have: the runtime commits sooner when
    /// they grow.
    #[must_use]
    pub fn dirty_bytes(&self) -> usize {
        self.stores.iter().map(Store::dirty_bytes).sum()
    }

    /// What a store holds, and where; `None` if there is no such store.
    #[must_use]
    pub fn statistics(&self, index: StoreIndex) -> Option<StoreStatistics> {
        let store = self.stores.get(index.0)?;
        let (write_set, reads) = (store.write_set(), store.reads());
        let mut statistics = StoreStatistics {
            reads_cached: reads.cached,
            reads_backend: reads.backend,
            scans: reads.scans,
            write_set_entries: write_set.entries(),
            write_set_bytes: store.dirty_bytes(),
            cache_bytes: write_set.clean_bytes(),
            pending_bytes: write_set.pending_bytes(),
            expired: store.expired(),
            ..StoreStatistics::default()
        };
        match (store, self.disk.as_ref().map(TaskDisk::database)) {
            (Store::Memory(store), _) => {
                statistics.entries = store.approximate_entries();
                let marks = store.expiry.as_ref().map_or(0, |expiry| expiry.backend.read().bytes());
                statistics.memory_bytes = store.backend.read().bytes() + marks;
            }
            (Store::Disk(store), Some(Ok(database))) => {
                let on_disk = database.statistics(&store.spec().name);
                statistics.entries = on_disk.entries.saturating_add_signed(write_set.growth());
                statistics.file_bytes = on_disk.file_bytes;
                statistics.write_buffer_bytes = on_disk.write_buffer_bytes;
            }
            (Store::Disk(_), _) => {}
        }
        Some(statistics)
    }

    /// What the engine tells of a store on disk; `None` for a store in memory, and while the
    /// database cannot be used.
    #[must_use]
    pub fn engine_properties(&self, index: StoreIndex) -> Option<EngineProperties> {
        let (Store::Disk(store), Some(disk)) = (self.stores.get(index.0)?, &self.disk) else {
            return None;
        };
        Some(disk.database().ok()?.properties(&store.spec().name))
    }
}

impl Drop for TaskStores {
    /// Whoever opens the task's database next must find it closed: readers let go of it first.
    fn drop(&mut self) {
        self.view.close();
    }
}
