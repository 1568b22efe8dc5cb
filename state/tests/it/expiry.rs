//! A store with a time to live beside a model of it, through commits, aborts, crashes and restores.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tidemill_state::{ApplyPolicy, StateMemory, TaskStores};
use tidemill_topology::store::bytes::{Expired, KeyRange, Order};
use tidemill_topology::store::spec::ChangelogEntry;
use tidemill_topology::store::{StoreIndex, StoreKind, StoreSpec};
use tidemill_topology::time::Timestamp;

use crate::model::position;

const STORE: StoreIndex = StoreIndex(0);
const LIVE_MS: i64 = 50;

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;
/// Key, value without timestamp, and timestamp.
type Logged = (Vec<u8>, Option<Vec<u8>>, i64);

fn spec() -> StoreSpec {
    StoreSpec {
        time_to_live_ms: Some(LIVE_MS),
        ..StoreSpec::new("sessions", StoreKind::TimestampedKeyValue)
    }
}

fn open(path: Option<&Path>) -> TaskStores {
    let memory = StateMemory::new(4 << 20);
    TaskStores::open("0_1", &[spec()], path, &memory, ApplyPolicy::default()).unwrap()
}

fn stamped(timestamp: i64, value: &[u8]) -> Vec<u8> {
    [&timestamp.to_be_bytes()[..], value].concat()
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, i64, u8),
    Delete(u8),
    /// Stream time moves on by so much, and what has expired is taken out.
    Pass(i64),
    Commit,
    Apply,
    Abort,
    Crash,
    /// A crash with the disk lost.
    Lose,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (0..12_u8, -40..60_i64, any::<u8>()).prop_map(|(key, age, value)| Step::Put(key, age, value)),
        6 => (0..12_u8).prop_map(Step::Delete),
        12 => (0..40_i64).prop_map(Step::Pass),
        6 => Just(Step::Commit),
        4 => Just(Step::Apply),
        2 => Just(Step::Abort),
        2 => Just(Step::Crash),
        1 => Just(Step::Lose),
    ]
}

/// A mistake that the comparison has to notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    /// Deletions by time are left out of the changelog.
    TombstonesAreNotLogged,
    /// A restore forgets when entries expire.
    RestoredWithoutTheirTime,
}

struct World {
    directory: Option<PathBuf>,
    stores: Option<TaskStores>,
    changelog: Vec<Logged>,
    now: i64,
    committed_now: i64,
    live: Entries,
    committed: Entries,
    mistake: Mistake,
}

impl World {
    fn stores(&mut self) -> &mut TaskStores {
        self.stores.as_mut().unwrap()
    }

    fn commit(&mut self) {
        let mut records = Vec::new();
        let handed_out = self.stores().for_each_unlogged(|_, entry| {
            let value = entry.value.map(<[u8]>::to_vec);
            records.push((entry.key.to_vec(), value, entry.timestamp.millis()));
            Ok::<(), ()>(())
        });
        handed_out.unwrap();
        if self.mistake == Mistake::TombstonesAreNotLogged {
            records.retain(|(_, value, _)| value.is_some());
        }
        self.changelog.extend(records);
        let next = position(self.changelog.len());
        self.stores().committed(&[(STORE, next)], &[], 0).unwrap();
        (self.committed, self.committed_now) = (self.live.clone(), self.now);
    }

    fn restore(&mut self) {
        let from = self.stores().position(STORE).map_or(0, |position| position.offset as usize);
        let forgets = self.mistake == Mistake::RestoredWithoutTheirTime;
        let records: Vec<_> = self.changelog[from..].to_vec();
        let entries = records.iter().map(|(key, value, timestamp)| ChangelogEntry {
            key,
            value: value.as_deref(),
            timestamp: Timestamp::new(if forgets { i64::MAX / 2 } else { *timestamp }),
        });
        let next = position(self.changelog.len());
        self.stores().restore(STORE, entries, next).unwrap();
        (self.live, self.now) = (self.committed.clone(), self.committed_now);
    }

    fn take_expired(&mut self) -> Result<(), String> {
        let now = self.now;
        let store = self.stores.as_mut().unwrap().store(STORE).unwrap();
        let (mut looks, mut entry, mut last) = (usize::MAX, Expired::default(), i64::MIN);
        while store.take_expired(Timestamp::new(now), &mut looks, &mut entry).unwrap() {
            let at = entry.at.millis();
            if self.live.remove(&entry.key).as_ref() != Some(&entry.value) {
                return Err(format!("{:?} expired, which is not there", entry.key));
            }
            if entry.value[..8] != (at - LIVE_MS).to_be_bytes() || at < last || at > now {
                return Err(format!("{:?} expired at {at}, out of order or time", entry.key));
            }
            last = at;
        }
        let is_late =
            |value: &Vec<u8>| i64::from_be_bytes(*value.first_chunk().unwrap()) + LIVE_MS <= now;
        match self.live.iter().find(|(_, value)| is_late(value)) {
            Some((key, _)) => Err(format!("{key:?} did not expire by {now}")),
            None => Ok(()),
        }
    }

    fn take(&mut self, step: &Step) -> Result<(), String> {
        match *step {
            Step::Put(key, age, value) => {
                let (key, timestamp) = (vec![b'k', key], self.now - age);
                let bytes = stamped(timestamp, &[value]);
                let store = self.stores().store(STORE).unwrap();
                store.put(&key, &bytes, Timestamp::new(timestamp)).unwrap();
                self.live.insert(key, bytes);
            }
            Step::Delete(key) => {
                let (key, now) = (vec![b'k', key], Timestamp::new(self.now));
                self.stores().store(STORE).unwrap().delete(&key, now).unwrap();
                self.live.remove(&key);
            }
            Step::Pass(ms) => {
                self.now += ms;
                self.take_expired()?;
            }
            Step::Commit => self.commit(),
            Step::Apply => {
                self.stores().apply().unwrap();
            }
            Step::Abort => {
                self.stores().rollback();
                self.restore();
            }
            Step::Crash | Step::Lose => {
                self.stores = None;
                if let Some(path) = self.directory.as_ref().filter(|_| matches!(step, Step::Lose)) {
                    std::fs::remove_dir_all(path).unwrap();
                }
                self.stores = Some(open(self.directory.as_deref()));
                self.restore();
            }
        }
        let mut entries = Entries::new();
        let store = self.stores().store(STORE).unwrap();
        let scanned = store.scan(KeyRange::ALL, Order::Forward, &mut |key, value| {
            entries.insert(key.to_vec(), value.to_vec());
            std::ops::ControlFlow::Continue(())
        });
        scanned.unwrap();
        if entries == self.live {
            return Ok(());
        }
        Err(format!("after {step:?} the store has {entries:?} and should have {:?}", self.live))
    }
}

fn holds(cases: u32, on_disk: bool, mistake: Mistake) -> Result<(), String> {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&vec(step(), 1..150), |steps| {
        let root = on_disk.then(|| tempfile::tempdir().unwrap());
        let directory = root.as_ref().map(|root| root.path().join("0_1"));
        let mut world = World {
            stores: Some(open(directory.as_deref())),
            directory,
            changelog: Vec::new(),
            now: 0,
            committed_now: 0,
            live: Entries::new(),
            committed: Entries::new(),
            mistake,
        };
        for step in &steps {
            world.take(step).map_err(TestCaseError::fail)?;
        }
        Ok(())
    });
    outcome.map_err(|failure| failure.to_string())
}

#[test]
fn entries_in_memory_expire_in_order_through_commits_aborts_and_crashes() {
    holds(2_000, false, Mistake::None).unwrap();
}

#[test]
fn entries_on_disk_expire_in_order_through_commits_aborts_and_crashes() {
    holds(40, true, Mistake::None).unwrap();
}

#[test]
fn the_comparison_notices_what_it_is_there_for() {
    for mistake in [Mistake::TombstonesAreNotLogged, Mistake::RestoredWithoutTheirTime] {
        holds(500, false, mistake).expect_err(&format!("{mistake:?} goes unnoticed"));
    }
}

#[test]
fn a_large_restore_brings_the_order_of_expiry_along() {
    let root = tempfile::tempdir().unwrap();
    let mut stores = open(Some(root.path()));
    // Above what enters RocksDB as files of their own, in more than one part.
    let count = 20_000_i64;
    let entries: Vec<_> =
        (0..count).map(|n| (format!("key-{:05}", n * 7 % count), vec![b'v'; 600], n)).collect();
    let records = entries.iter().map(|(key, value, timestamp)| ChangelogEntry {
        key: key.as_bytes(),
        value: Some(value),
        timestamp: Timestamp::new(*timestamp),
    });
    stores.restore(STORE, records, position(entries.len())).unwrap();
    let (mut looks, mut entry, mut taken) = (usize::MAX, Expired::default(), 0);
    let store = stores.store(STORE).unwrap();
    while store.take_expired(Timestamp::new(count), &mut looks, &mut entry).unwrap() {
        assert_eq!(entry.key, entries[taken].0.as_bytes());
        taken += 1;
    }
    assert_eq!(taken as i64, count - LIVE_MS + 1);
}

#[test]
fn what_expires_at_once_is_taken_out_in_parts() {
    let mut stores = open(None);
    let store = stores.store(STORE).unwrap();
    for n in 0..10_u8 {
        store.put(&[n], &stamped(0, b"v"), Timestamp::new(0)).unwrap();
    }
    let (mut looks, mut entry, mut taken) = (4, Expired::default(), 0);
    while store.take_expired(Timestamp::new(LIVE_MS), &mut looks, &mut entry).unwrap() {
        taken += 1;
    }
    assert_eq!((taken, looks, stores.statistics(STORE).unwrap().expired), (4, 0, 4));
}

#[test]
fn a_store_that_is_given_a_time_to_live_starts_empty_to_be_restored() {
    let root = tempfile::tempdir().unwrap();
    let plain = StoreSpec { time_to_live_ms: None, ..spec() };
    let memory = StateMemory::new(4 << 20);
    let policy = ApplyPolicy::default();
    let mut stores = TaskStores::open("0_1", &[plain], Some(root.path()), &memory, policy).unwrap();
    let value = stamped(0, b"v");
    stores.store(STORE).unwrap().put(b"a", &value, Timestamp::new(0)).unwrap();
    stores.for_each_unlogged(|_, _| Ok::<(), ()>(())).unwrap();
    stores.committed(&[(STORE, position(1))], &[], 0).unwrap();
    stores.close().unwrap();
    let mut stores = open(Some(root.path()));
    assert_eq!((stores.emptied(), stores.position(STORE)), (&[STORE][..], None));
    assert_eq!(stores.store(STORE).unwrap().get(b"a").unwrap(), None);
}

#[test]
fn a_wiped_store_forgets_when_its_entries_expired() {
    let root = tempfile::tempdir().unwrap();
    let mut stores = open(Some(root.path()));
    stores.store(STORE).unwrap().put(b"a", &stamped(0, b"v"), Timestamp::new(0)).unwrap();
    stores.for_each_unlogged(|_, _| Ok::<(), ()>(())).unwrap();
    stores.committed(&[(STORE, position(1))], &[], 0).unwrap();
    stores.apply().unwrap();
    stores.wipe(STORE).unwrap();
    let (mut looks, mut entry) = (9, Expired::default());
    let store = stores.store(STORE).unwrap();
    assert!(!store.take_expired(Timestamp::MAX, &mut looks, &mut entry).unwrap());
    assert_eq!(looks, 9);
}
