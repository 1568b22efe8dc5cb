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
//! So a task that nobody asks pays nothing. One that is asked lists what each commit changed, a
//! copy in one stride; putting it where it is found again is for those who read next. All stores of
//! a task change together, under one lock: whoever holds [`Committed`] sees the state of one commit,
//! however often it looks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{
    Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use std::time::Duration;

use tidemill_topology::store::StoreIndex;
use tidemill_topology::store::bytes::{KeyRange, Order, Visit};
use tidemill_topology::time::Timestamp;

use crate::error::Result;
use crate::memory::SharedMemory;
use crate::overlay::{Changes, ChangesSize, Overlay};
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
    /// What was committed and not folded into the overlays, oldest first.
    news: Mutex<News>,
    /// Whether there is any.
    has_news: AtomicBool,
    /// The clocks of stores that keep one. Not among the tables: their owner never waits for them.
    times: Mutex<Vec<Timestamp>>,
    /// For those who wait to be shown something.
    change: (Mutex<()>, Condvar),
}

#[derive(Default)]
struct Tables {
    shown: bool,
    /// Empty when the stores are closed.
    stores: Vec<Table>,
}

#[derive(Default)]
struct News {
    /// The changes of a commit, of every store.
    commits: Vec<Vec<Changes>>,
    bytes: usize,
    /// How long the lists of the last commit were.
    last: Vec<ChangesSize>,
}

struct Table {
    backend: SharedBackend,
    overlay: Overlay,
}

/// A backend as readers share it with its owner.
pub(crate) enum SharedBackend {
    Memory(SharedMemory),
    Disk(ColumnFamily),
}

/// The committed state of a task's stores, for as long as this is held. No commit of the task is
/// shown or applied meanwhile: hold it for a look-up or a page, not for a conversation.
pub struct Committed<'v> {
    view: &'v CommittedView,
    tables: RwLockReadGuard<'v, Tables>,
}

impl CommittedView {
    pub(crate) fn new(backends: Vec<SharedBackend>) -> Self {
        let table = |backend| Table { backend, overlay: Overlay::default() };
        let times = Mutex::new(vec![Timestamp::UNKNOWN; backends.len()]);
        let stores = backends.into_iter().map(table).collect();
        Self { tables: RwLock::new(Tables { shown: false, stores }), times, ..Self::default() }
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
        if self.has_news.load(Ordering::Acquire) {
            self.fold();
        }
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        match (tables.shown, tables.stores.is_empty()) {
            (_, true) => Err(Unreadable::Closed),
            (false, false) => Err(Unreadable::Hidden),
            (true, false) => Ok(Committed { view: self, tables }),
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

    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A list for the changes of a store, with room for as many as the last commit had.
    pub(crate) fn room(&self, store: usize) -> Changes {
        self.news().last.get(store).map_or_else(Changes::default, |size| Changes::with_room(*size))
    }

    /// Shows the changes of a commit, a list a store; shows nothing any more if readers lag behind
    /// by more than `bytes_max`.
    pub(crate) fn changed(&self, commit: Vec<Changes>, bytes_max: usize) {
        let mut news = self.news();
        news.bytes += commit.iter().map(Changes::size_bytes).sum::<usize>();
        news.last = commit.iter().map(Changes::size).collect();
        news.commits.push(commit);
        let is_behind = news.bytes > bytes_max;
        self.has_news.store(true, Ordering::Release);
        drop(news);
        if is_behind {
            self.hide();
        }
    }

    fn take_news(&self) -> Vec<Vec<Changes>> {
        let mut news = self.news();
        news.bytes = 0;
        self.has_news.store(false, Ordering::Relaxed);
        std::mem::take(&mut news.commits)
    }

    /// Folds what was committed into the overlays.
    pub(crate) fn fold(&self) {
        let mut tables = self.write();
        // Taken while the tables are held: nobody sees them without it.
        let commits = self.take_news();
        for commit in &commits {
            for (table, changes) in tables.stores.iter_mut().zip(commit) {
                table.overlay.fold(changes);
            }
        }
    }

    /// Shows the stores, which have committed and not applied all this.
    pub(crate) fn show(&self, whole: Vec<Changes>) {
        let mut tables = self.write();
        for (table, changes) in tables.stores.iter_mut().zip(&whole) {
            table.overlay.fold(changes);
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
            self.forget(&mut tables);
        }
    }

    /// The backends have everything committed. Says nothing any more to those who have stopped
    /// asking.
    pub(crate) fn applied(&self) {
        if !self.asked.swap(false, Ordering::Relaxed) {
            self.hide();
        } else if self.is_shown() {
            self.forget(&mut self.write());
        }
    }

    fn forget(&self, tables: &mut Tables) {
        drop(self.take_news());
        tables.stores.iter_mut().for_each(|table| table.overlay.clear());
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
        if self.is_shown() {
            let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
            for (at, known) in times.iter_mut().enumerate() {
                *known = time(StoreIndex(at));
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
        &self.tables.stores[store.0]
    }

    /// Writes the value under a key into `value`, and tells whether there is one.
    ///
    /// # Errors
    /// When the engine cannot be read.
    ///
    /// # Panics
    /// When the task has no such store, as do the other methods.
    pub fn get(&self, store: StoreIndex, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        let Table { backend, overlay } = self.table(store);
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
        let Table { backend, overlay } = self.table(store);
        match backend {
            SharedBackend::Memory(backend) => overlay.scan(backend, range, order, visit),
            SharedBackend::Disk(backend) => overlay.scan(backend, range, order, visit),
        }
    }

    /// About how many keys there are.
    #[must_use]
    pub fn approximate_entries(&self, store: StoreIndex) -> u64 {
        let Table { backend, overlay } = self.table(store);
        match backend {
            SharedBackend::Memory(backend) => overlay.approximate_entries(backend),
            SharedBackend::Disk(backend) => overlay.approximate_entries(backend),
        }
    }

    /// Highest time put into a store that keeps a clock, as windowed stores do.
    #[must_use]
    pub fn time(&self, store: StoreIndex) -> Timestamp {
        self.view.times.lock().unwrap_or_else(PoisonError::into_inner)[store.0]
    }
}
