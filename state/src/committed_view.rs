//! What readers on other threads see of a task's stores: what is committed, and nothing else.
//!
//! The thread that runs a task neither waits for readers nor answers them. It *shows* its stores:
//! readers look into the backends themselves, which hold committed entries alone, and before that
//! into a copy of what is committed and not applied, made at each commit:
//!
//! ```text
//! hidden --asked, and nothing uncommitted--> shown --commit--> shown, with what it changed
//!    ^                                         |
//!    +---- rollback, wipe, close; an apply ----+
//!          that finds nobody has asked since the last one
//! ```
//!
//! So a task that nobody asks pays nothing, and one that is asked pays for a copy of each change
//! at each commit. All stores of a task change together, under one lock: whoever holds
//! [`Committed`] sees the state of one commit, however often it looks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tidemill_topology::store::StoreIndex;
use tidemill_topology::store::bytes::{KeyRange, Order, Visit};
use tidemill_topology::time::Timestamp;

use crate::error::Result;
use crate::memory::SharedMemory;
use crate::overlay::Overlay;
use crate::rocksdb::ColumnFamily;

/// Why a task's stores cannot be read at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// They are not shown: ask their owner to, and [wait](CommittedView::wait).
    Hidden,
    /// They are closed for good.
    Closed,
}

/// See the [module](self). Its owner is the task's [`TaskStores`](crate::TaskStores).
#[derive(Default)]
pub struct CommittedView {
    /// Whether somebody has asked since the last apply.
    asked: AtomicBool,
    /// A copy of `Tables::shown`, for the owner, who alone changes it.
    shown: AtomicBool,
    tables: RwLock<Tables>,
    /// For those who wait to be shown something.
    change: (Mutex<()>, Condvar),
}

#[derive(Default)]
struct Tables {
    shown: bool,
    /// Empty when the stores are closed.
    stores: Vec<Table>,
}

struct Table {
    backend: SharedBackend,
    overlay: Overlay,
    /// The store's clock, in stores that keep one.
    time: Timestamp,
}

/// A backend as readers share it with its owner.
pub(crate) enum SharedBackend {
    Memory(SharedMemory),
    Disk(ColumnFamily),
}

/// The committed state of a task's stores, for as long as this is held. No commit of the task is
/// shown or applied meanwhile: hold it for a look-up or a page, not for a conversation.
pub struct Committed<'v>(RwLockReadGuard<'v, Tables>);

/// The overlays of stores that are shown, for the owner's next change.
pub(crate) struct Shown<'v>(RwLockWriteGuard<'v, Tables>);

impl Shown<'_> {
    pub(crate) fn overlay(&mut self, at: usize) -> Option<&mut Overlay> {
        self.0.stores.get_mut(at).map(|table| &mut table.overlay)
    }
}

impl CommittedView {
    pub(crate) fn new(backends: Vec<SharedBackend>) -> Self {
        let table =
            |backend| Table { backend, overlay: Overlay::default(), time: Timestamp::UNKNOWN };
        let stores = backends.into_iter().map(table).collect();
        Self { tables: RwLock::new(Tables { shown: false, stores }), ..Self::default() }
    }

    /// The stores, to be read.
    ///
    /// # Errors
    /// When they are not shown at present.
    pub fn read(&self) -> Result<Committed<'_>, Unreadable> {
        // Most often it is set already; then no other core has to hear of it.
        if !self.asked.load(Ordering::Relaxed) {
            self.asked.store(true, Ordering::Relaxed);
        }
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        match (tables.shown, tables.stores.is_empty()) {
            (_, true) => Err(Unreadable::Closed),
            (false, false) => Err(Unreadable::Hidden),
            (true, false) => Ok(Committed(tables)),
        }
    }

    /// Waits until the stores are shown or closed, but not for longer than `limit`.
    pub fn wait(&self, limit: Duration) {
        let (lock, changed) = &self.change;
        let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        // Time out or not, the caller looks again.
        let _ = changed.wait_timeout_while(guard, limit, |()| {
            let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
            !tables.shown && !tables.stores.is_empty()
        });
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes those who wait. The lock makes sure that whoever found nothing waits by now.
    fn tell(&self) {
        drop(self.change.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.change.1.notify_all();
    }

    pub(crate) fn is_shown(&self) -> bool {
        self.shown.load(Ordering::Relaxed)
    }

    /// The overlays, if the stores are shown: to be changed with each commit.
    pub(crate) fn shown(&self) -> Option<Shown<'_>> {
        self.is_shown().then(|| Shown(self.write()))
    }

    /// Shows the stores, their overlays made by `fill`.
    pub(crate) fn show(&self, mut fill: impl FnMut(usize, &mut Overlay)) {
        let mut tables = self.write();
        for (at, table) in tables.stores.iter_mut().enumerate() {
            fill(at, &mut table.overlay);
        }
        tables.shown = true;
        self.shown.store(true, Ordering::Relaxed);
        drop(tables);
        self.tell();
    }

    /// Shows nothing any more.
    pub(crate) fn hide(&self) {
        if self.is_shown() {
            self.shown.store(false, Ordering::Relaxed);
            let mut tables = self.write();
            tables.shown = false;
            tables.stores.iter_mut().for_each(|table| table.overlay.clear());
        }
    }

    /// The backends have everything committed. Says nothing any more to those who have stopped
    /// asking.
    pub(crate) fn applied(&self) {
        if !self.asked.swap(false, Ordering::Relaxed) {
            self.hide();
        } else if let Some(mut shown) = self.shown() {
            shown.0.stores.iter_mut().for_each(|table| table.overlay.clear());
        }
    }

    /// Puts other backends in the place of those that failed, or takes them away.
    pub(crate) fn replace_backends(&self, replace: impl Fn(usize, &mut SharedBackend)) {
        let mut tables = self.write();
        for (at, table) in tables.stores.iter_mut().enumerate() {
            replace(at, &mut table.backend);
        }
    }

    /// Takes note of the stores' clocks.
    pub(crate) fn set_times(&self, time: impl Fn(StoreIndex) -> Timestamp) {
        if let Some(mut shown) = self.shown() {
            for (at, table) in shown.0.stores.iter_mut().enumerate() {
                table.time = time(StoreIndex(at));
            }
        }
    }

    /// Lets go of the backends, once those who read are done.
    pub(crate) fn close(&self) {
        self.shown.store(false, Ordering::Relaxed);
        *self.write() = Tables::default();
        self.tell();
    }
}

impl Committed<'_> {
    fn table(&self, store: StoreIndex) -> &Table {
        &self.0.stores[store.0]
    }

    /// Writes the value under a key into `value`, and tells whether there is one.
    ///
    /// # Errors
    /// When the engine cannot be read.
    ///
    /// # Panics
    /// When the task has no such store, as do the other methods.
    pub fn get(&self, store: StoreIndex, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        let Table { backend, overlay, .. } = self.table(store);
        match backend {
            SharedBackend::Memory(backend) => overlay.get(backend, key, value),
            SharedBackend::Disk(backend) => overlay.get(backend, key, value),
        }
    }

    /// Visits a range of keys in order, until the end or until `visit` breaks.
    ///
    /// # Errors
    /// When the engine cannot be read.
    pub fn scan(
        &self,
        store: StoreIndex,
        range: KeyRange<'_>,
        order: Order,
        visit: &mut Visit<'_>,
    ) -> Result {
        let Table { backend, overlay, .. } = self.table(store);
        match backend {
            SharedBackend::Memory(backend) => overlay.scan(backend, range, order, visit),
            SharedBackend::Disk(backend) => overlay.scan(backend, range, order, visit),
        }
    }

    /// About how many keys there are.
    #[must_use]
    pub fn approximate_entries(&self, store: StoreIndex) -> u64 {
        let Table { backend, overlay, .. } = self.table(store);
        match backend {
            SharedBackend::Memory(backend) => overlay.approximate_entries(backend),
            SharedBackend::Disk(backend) => overlay.approximate_entries(backend),
        }
    }

    /// Highest time put into a store that keeps a clock, as windowed stores do.
    #[must_use]
    pub fn time(&self, store: StoreIndex) -> Timestamp {
        self.table(store).time
    }
}
