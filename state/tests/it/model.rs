//! A task's store beside a model of it: ordered maps and a list of changelog records.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::PathBuf;

use tidemill_state::{
    Applied, ApplyPolicy, InputOffset, Position, StateMemory, TaskStores, Unreadable,
};
use tidemill_topology::store::bytes::{KeyRange, Order};
use tidemill_topology::store::spec::ChangelogEntry;
use tidemill_topology::store::{Pending, StoreIndex, StoreKind, StoreSpec};
use tidemill_topology::time::Timestamp;

/// One step of a script.
#[derive(Clone, Debug)]
pub enum Step {
    Put(Vec<u8>, Vec<u8>),
    Insert(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    Remove(Vec<u8>),
    Get(Vec<u8>),
    Scan(Vec<u8>, Option<Vec<u8>>, bool, usize),
    DeleteRange(Vec<u8>, Vec<u8>),
    Drain,
    Commit,
    /// Somebody asks for what is committed.
    Show,
    Apply,
    Abort,
    Restart,
    /// A commit that ends in a crash after so many of its steps.
    Crash(CrashAt),
    Wipe,
}

/// Where in a commit the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CrashAt {
    BeforeLogging,
    BeforeTheTransactionCommits,
    BeforeTheOutcomeIsNoted,
    BeforeApply,
    AfterApply,
}

/// A mistake that the comparison has to notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    None,
    /// An aborted transaction leaves the write set as it is.
    RollbackKeepsEntries,
    /// A changelog record is lost on its way.
    RecordIsNotRestored,
    /// The position is one record ahead of what was applied.
    PositionIsAhead,
    /// Readers are shown what is not committed.
    ReadersSeeTheWriteSet,
}

pub type Map = BTreeMap<Vec<u8>, Vec<u8>>;
type Check = Result<(), String>;

#[derive(Clone, Debug)]
struct Record {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    timestamp: Timestamp,
}

pub const STORE: StoreIndex = StoreIndex(0);

/// See the [module](self).
pub struct World {
    spec: StoreSpec,
    directory: Option<PathBuf>,
    memory: StateMemory,
    policy: ApplyPolicy,
    mistake: Mistake,
    stores: Option<TaskStores>,
    changelog: Vec<Record>,
    /// With what was written since the last commit.
    live: Map,
    committed: Map,
    /// What the backend holds, and up to where in the changelog.
    applied: Map,
    applied_position: usize,
    expired: BTreeSet<Vec<u8>>,
    /// Updates held back, in the order of first change, and where those are whose new value is
    /// still the live one; of the others it is what it was when they expired.
    pending: Vec<Pending>,
    pending_live: BTreeMap<Vec<u8>, usize>,
    /// Keys changed since the last commit, and those whose first change was an insertion.
    touched: BTreeSet<Vec<u8>>,
    inserted: BTreeSet<Vec<u8>>,
    clock: i64,
}

pub fn position(offset: usize) -> Position {
    Position {
        offset: offset as i64,
        topic_id: Some([7; 16]),
        leader_epoch: Some(1),
        caught_up_at_ms: 5,
    }
}

impl World {
    pub fn new(
        caching: bool,
        directory: Option<PathBuf>,
        memory: StateMemory,
        mistake: Mistake,
    ) -> Self {
        let mut spec = StoreSpec::new("accounts", StoreKind::KeyValue);
        spec.caching = caching;
        let mut world = Self {
            spec,
            directory,
            memory,
            policy: ApplyPolicy { bytes: usize::MAX, interval_ms: i64::MAX },
            mistake,
            stores: None,
            changelog: Vec::new(),
            live: Map::new(),
            committed: Map::new(),
            applied: Map::new(),
            applied_position: 0,
            expired: BTreeSet::new(),
            pending: Vec::new(),
            pending_live: BTreeMap::new(),
            touched: BTreeSet::new(),
            inserted: BTreeSet::new(),
            clock: 0,
        };
        world.open();
        world
    }

    pub fn stores(&mut self) -> &mut TaskStores {
        self.stores.as_mut().unwrap()
    }

    pub fn run(&mut self, steps: &[Step]) -> Check {
        for (at, step) in steps.iter().enumerate() {
            // Not after each step: what several commits did is folded together as well.
            let done = self.step(step).and_then(|()| match at % 3 {
                0 => self.compare_view(),
                _ => Ok(()),
            });
            done.map_err(|what| format!("step {at} {step:?}: {what}"))?;
        }
        self.compare_all()
    }

    fn step(&mut self, step: &Step) -> Check {
        self.clock += 1;
        let now = Timestamp::new(self.clock);
        match step.clone() {
            Step::Put(key, value) => {
                self.stores().store(STORE).unwrap().put(&key, &value, now).unwrap();
                self.note(key, Some(value));
            }
            Step::Insert(key, value) if !self.live.contains_key(&key) => {
                self.stores().store(STORE).unwrap().insert(&key, &value, now).unwrap();
                if !self.committed.contains_key(&key) && !self.touched.contains(&key) {
                    self.inserted.insert(key.clone());
                }
                self.note(key, Some(value));
            }
            Step::Insert(..) => {}
            Step::Delete(key) => {
                self.stores().store(STORE).unwrap().delete(&key, now).unwrap();
                if self.live.contains_key(&key) {
                    self.note(key, None);
                }
            }
            Step::Remove(key) if self.live.contains_key(&key) => {
                self.stores().store(STORE).unwrap().remove(&key, now).unwrap();
                self.note(key, None);
            }
            Step::Remove(_) => {}
            Step::Get(key) => {
                let found =
                    self.stores().store(STORE).unwrap().get(&key).unwrap().map(<[u8]>::to_vec);
                same("get", &found, &self.live.get(&key).cloned())?;
            }
            Step::Scan(from, to, backward, limit) => {
                self.compare_scan(&from, to.as_deref(), backward, limit)?;
            }
            Step::DeleteRange(from, to) => self.delete_range(&from, &to),
            Step::Drain => self.compare_drain()?,
            Step::Commit => self.commit(CrashAt::BeforeApply)?,
            Step::Show => {
                let uncommitted = self.stores().has_uncommitted();
                let view = self.stores().view();
                let was_shown = !matches!(view.read(), Err(Unreadable::Hidden));
                let shown = self.stores().show();
                same("shown", &shown, &(was_shown || !uncommitted))?;
            }
            Step::Apply => {
                if self.stores().apply().unwrap() == Applied::All {
                    self.note_applied();
                } else if !self.stores().has_uncommitted() {
                    return Err("deferred without a reason".into());
                }
            }
            Step::Abort => self.abort()?,
            Step::Restart => {
                self.commit(CrashAt::AfterApply)?;
                self.stores.take().unwrap().close().unwrap();
                self.reopen()?;
            }
            Step::Crash(at) => {
                self.commit(at)?;
                self.reopen()?;
            }
            Step::Wipe => {
                self.commit(CrashAt::AfterApply)?;
                self.stores().wipe(STORE).unwrap();
                self.applied.clear();
                self.applied_position = 0;
                self.replay()?;
            }
        }
        Ok(())
    }

    fn note(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        let old = match value {
            Some(value) => self.live.insert(key.clone(), value),
            None => self.live.remove(&key),
        };
        self.touched.insert(key.clone());
        if self.spec.caching {
            let next = self.pending.len();
            let at = *self.pending_live.entry(key.clone()).or_insert(next);
            if at == next {
                self.pending.push(Pending { key, old, new: None, written: Timestamp::UNKNOWN });
            }
            self.pending[at].written = Timestamp::new(self.clock);
        }
    }

    fn delete_range(&mut self, from: &[u8], to: &[u8]) {
        self.stores().store(STORE).unwrap().delete_range(from, to).unwrap();
        if to <= from {
            return;
        }
        let range = from.to_vec()..to.to_vec();
        for (key, at) in self.pending_live.extract_if(range.clone(), |_, _| true) {
            self.pending[at].new = self.live.get(&key).cloned();
        }
        let gone: Vec<_> = self.live.extract_if(range, |_, _| true).collect();
        self.expired.extend(gone.into_iter().map(|(key, _)| key));
        // A deletion that was not logged yet is forgotten as well.
        let fold = self.fold(0, Map::new());
        self.expired.extend(fold.into_keys().filter(|key| **key >= *from && **key < *to));
    }

    fn compare_drain(&mut self) -> Check {
        let mut found = Vec::new();
        self.stores().store(STORE).unwrap().drain_pending(&mut found);
        let mut expected = std::mem::take(&mut self.pending);
        for (key, at) in std::mem::take(&mut self.pending_live) {
            expected[at].new = self.live.get(&key).cloned();
        }
        expected.retain(|pending| pending.old.is_some() || pending.new.is_some());
        same("drained updates", &found, &expected)?;
        same("bytes held back", &self.stores().store(STORE).unwrap().pending_bytes(), &0)
    }

    /// The commit protocol up to a crash, or to the end.
    fn commit(&mut self, until: CrashAt) -> Check {
        if until == CrashAt::BeforeLogging {
            return Ok(());
        }
        let mut records = Vec::new();
        let handed_out = self.stores().for_each_unlogged(|store, entry| {
            if store == STORE {
                records.push(Record {
                    key: entry.key.to_vec(),
                    value: entry.value.map(<[u8]>::to_vec),
                    timestamp: entry.timestamp,
                });
            }
            Ok::<(), String>(())
        });
        handed_out?;
        self.check_records(&records)?;
        if until == CrashAt::BeforeTheTransactionCommits {
            return Ok(());
        }
        self.changelog.extend(records);
        self.committed.clone_from(&self.live);
        self.touched.clear();
        self.inserted.clear();
        self.check_fold()?;
        self.expired.retain(|key| !self.live.contains_key(key));
        if until == CrashAt::BeforeTheOutcomeIsNoted {
            return Ok(());
        }
        let ahead = usize::from(self.mistake == Mistake::PositionIsAhead);
        let next = position(self.changelog.len() + ahead);
        let input = InputOffset { topic: "orders".into(), partition: 3, offset: self.clock };
        let now = self.clock;
        self.stores()
            .committed(&[(STORE, next)], &[input], now)
            .map_err(|error| error.to_string())?;
        if until == CrashAt::AfterApply {
            same("applied", &self.stores().apply().unwrap(), &Applied::All)?;
            self.note_applied();
        }
        Ok(())
    }

    fn check_records(&self, records: &[Record]) -> Check {
        let mut seen = BTreeSet::new();
        for record in records {
            if !seen.insert(&record.key) {
                return Err(format!("{:?} is logged twice", record.key));
            }
            same("logged value", &record.value.as_ref(), &self.live.get(&record.key))?;
            if record.value.is_none()
                && self.inserted.contains(&record.key)
                && !self.committed.contains_key(&record.key)
            {
                return Err(format!("{:?} came and went, and is logged", record.key));
            }
        }
        Ok(())
    }

    /// The changelog alone gives the state, but for what expired without a word in it.
    fn check_fold(&self) -> Check {
        let mut fold = self.fold(0, Map::new());
        fold.retain(|key, _| !self.expired.contains(key) || self.live.contains_key(key));
        same("the changelog's state", &fold, &self.live)
    }

    /// The records from an offset on, on top of a state.
    fn fold(&self, from: usize, mut state: Map) -> Map {
        for record in &self.changelog[from..] {
            match &record.value {
                Some(value) => state.insert(record.key.clone(), value.clone()),
                None => state.remove(&record.key),
            };
        }
        state
    }

    fn note_applied(&mut self) {
        self.applied.clone_from(&self.committed);
        self.applied_position = self.changelog.len();
    }

    fn abort(&mut self) -> Check {
        if self.mistake != Mistake::RollbackKeepsEntries {
            self.stores().rollback();
        }
        self.replay()
    }

    fn open(&mut self) {
        let mut specs = vec![self.spec.clone()];
        // Others that take their share of the cache, so that it is small.
        specs.extend((0..40).map(|n| StoreSpec {
            persistent: false,
            ..StoreSpec::new(format!("other-{n}"), StoreKind::KeyValue)
        }));
        let opened =
            TaskStores::open("0_3", &specs, self.directory.as_deref(), &self.memory, self.policy);
        self.stores = Some(opened.unwrap());
    }

    fn reopen(&mut self) -> Check {
        self.stores = None;
        self.open();
        if self.directory.is_none() {
            self.applied.clear();
            self.applied_position = 0;
        }
        self.replay()
    }

    /// Restores the changelog's tail; afterwards the state is what was committed.
    fn replay(&mut self) -> Check {
        let found = self.stores().position(STORE).map_or(0, |position| position.offset as usize);
        if self.mistake != Mistake::PositionIsAhead {
            same("position", &found, &self.applied_position)?;
        }
        let tail = self.changelog.get(found..).unwrap_or_default().to_vec();
        let lost = usize::from(self.mistake == Mistake::RecordIsNotRestored);
        let records = tail.iter().skip(lost).map(|record| ChangelogEntry {
            key: &record.key,
            value: record.value.as_deref(),
            timestamp: record.timestamp,
        });
        let next = position(self.changelog.len());
        match self.stores().restore(STORE, records, next) {
            Ok(count) => {
                same("restored records", &(count as usize), &(tail.len() - lost.min(tail.len())))?;
            }
            Err(error) => return Err(error.to_string()),
        }
        let state = self.fold(self.applied_position, self.applied.clone());
        self.live.clone_from(&state);
        self.committed.clone_from(&state);
        self.applied = state;
        self.applied_position = self.changelog.len();
        self.expired.clear();
        let fold = self.fold(0, Map::new());
        self.expired.extend(fold.into_keys().filter(|key| !self.live.contains_key(key)));
        self.pending.clear();
        self.pending_live.clear();
        self.touched.clear();
        self.inserted.clear();
        self.compare_all()
    }

    pub fn compare_all(&mut self) -> Check {
        self.compare_scan(&[], None, false, usize::MAX)?;
        self.compare_scan(&[], None, true, usize::MAX)
    }

    /// What readers see, if they are shown anything, is what is committed.
    fn compare_view(&mut self) -> Check {
        let view = self.stores().view();
        let Ok(committed) = view.read() else { return Ok(()) };
        let wanted = match self.mistake {
            Mistake::ReadersSeeTheWriteSet => &self.live,
            _ => &self.committed,
        };
        let mut value = vec![9];
        for key in self.live.keys().chain(self.committed.keys()) {
            let found = committed.get(STORE, key, &mut value).map_err(|error| error.to_string())?;
            same("value shown", &found.then_some(&value), &wanted.get(key))?;
        }
        for order in [Order::Forward, Order::Backward] {
            let mut found = Vec::new();
            committed
                .scan(STORE, KeyRange::ALL, order, &mut |key, value| {
                    found.push((key.to_vec(), value.to_vec()));
                    ControlFlow::Continue(())
                })
                .map_err(|error| error.to_string())?;
            if order == Order::Backward {
                found.reverse();
            }
            let expected: Vec<_> =
                wanted.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
            same("entries shown", &found, &expected)?;
        }
        Ok(())
    }

    fn compare_scan(
        &mut self,
        from: &[u8],
        to: Option<&[u8]>,
        backward: bool,
        limit: usize,
    ) -> Check {
        let order = if backward { Order::Backward } else { Order::Forward };
        let range = KeyRange { from, to };
        let limit = limit.max(1);
        let mut scanned = Vec::new();
        let store = self.stores().store(STORE).unwrap();
        store.scan(range, order, &mut collect(&mut scanned, limit)).unwrap();
        if !backward {
            let mut probed = Vec::new();
            store.probe(range, &mut collect(&mut probed, limit)).unwrap();
            same("probe", &probed, &scanned)?;
        }
        let inside = |key: &[u8]| key >= from && to.is_none_or(|to| key < to);
        let mut expected: Vec<_> = self
            .live
            .iter()
            .filter(|(key, _)| inside(key.as_slice()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if backward {
            expected.reverse();
        }
        expected.truncate(limit);
        same("scan", &scanned, &expected)
    }
}

/// Collects what is visited, up to so many entries.
fn collect(
    into: &mut Vec<(Vec<u8>, Vec<u8>)>,
    limit: usize,
) -> impl FnMut(&[u8], &[u8]) -> ControlFlow<()> {
    move |key, value| {
        into.push((key.to_vec(), value.to_vec()));
        if into.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Check {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what}: found {found:?}, expected {expected:?}"))
    }
}
