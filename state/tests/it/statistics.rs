//! What the stores and the engine below them say they hold and did.

use tidemill_state::{ApplyPolicy, EngineCount, EngineProperty, StateMemory, TaskStores};
use tidemill_topology::store::{StoreIndex, StoreKind, StoreSpec};
use tidemill_topology::time::Timestamp;

use crate::model::position;

const STORE: StoreIndex = StoreIndex(0);
const KEYS: u32 = 2_000;

fn open(folder: &std::path::Path, memory: &StateMemory, persistent: bool) -> TaskStores {
    let specs = [StoreSpec { persistent, ..StoreSpec::new("a", StoreKind::KeyValue) }];
    TaskStores::open("0_0", &specs, Some(folder), memory, ApplyPolicy::default()).unwrap()
}

fn fill(stores: &mut TaskStores) {
    for key in 0..KEYS {
        stores.bound(STORE).put(&key.to_be_bytes(), &[7; 100], Timestamp::new(1)).unwrap();
    }
    commit_and_apply(stores);
    stores.flush().unwrap();
}

fn commit_and_apply(stores: &mut TaskStores) {
    stores.for_each_unlogged(|_, _| Ok::<(), ()>(())).unwrap();
    stores.committed(&[(STORE, position(1))], &[], 0).unwrap();
    stores.apply().unwrap();
}

#[test]
fn the_engine_counts_what_its_databases_write_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let memory = StateMemory::new(8 << 20);
    fill(&mut open(folder.path(), &memory, true));
    // Opened anew, nothing is cached: what is read comes from files.
    let mut stores = open(folder.path(), &memory, true);
    for key in 0..KEYS {
        assert!(stores.bound(STORE).get(&key.to_be_bytes()).unwrap().is_some());
    }
    let counts = memory.engine_counts();
    let count = |wanted| counts[EngineCount::ALL.iter().position(|one| *one == wanted).unwrap()];
    assert!(count(EngineCount::BytesWritten) >= u64::from(KEYS) * 100);
    assert!(count(EngineCount::BytesRead) >= u64::from(KEYS) * 100);
    assert!(count(EngineCount::FlushWriteBytes) > 0);
    assert!(count(EngineCount::DataBlockHits) + count(EngineCount::DataBlockMisses) > 0);
    assert!(count(EngineCount::FileOpens) > 0);
    let held = stores.statistics(STORE).unwrap();
    assert_eq!((held.reads_backend, held.reads_cached), (u64::from(KEYS), 0));
    let properties = stores.engine_properties(STORE).unwrap();
    let at = EngineProperty::ALL.iter().position(|one| *one == EngineProperty::LiveFileBytes);
    assert!(properties[at.unwrap()] > 0);
}

#[test]
fn a_store_in_memory_counts_its_reads_and_has_no_engine() {
    let folder = tempfile::tempdir().unwrap();
    let memory = StateMemory::new(8 << 20);
    let mut stores = open(folder.path(), &memory, false);
    stores.bound(STORE).put(b"key", b"value", Timestamp::new(1)).unwrap();
    stores.bound(STORE).get(b"key").unwrap();
    stores.bound(STORE).get(b"another").unwrap();
    let held = stores.statistics(STORE).unwrap();
    assert_eq!((held.reads_cached, held.reads_backend), (1, 1));
    assert_eq!(stores.engine_properties(STORE), None);
}

#[test]
fn what_was_deleted_and_never_read_takes_no_place_in_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let memory = StateMemory::new(8 << 20);
    let mut stores = open(folder.path(), &memory, true);
    fill(&mut stores);
    let entries = |stores: &TaskStores| stores.statistics(STORE).unwrap().write_set_entries;
    assert_eq!(entries(&stores), KEYS as usize);
    let store = stores.bound(STORE);
    for key in 0..KEYS {
        store.remove(&key.to_be_bytes(), Timestamp::new(2)).unwrap();
        // Comes and goes.
        store.insert(&(KEYS + key).to_be_bytes(), b"x", Timestamp::new(2)).unwrap();
        store.remove(&(KEYS + key).to_be_bytes(), Timestamp::new(2)).unwrap();
    }
    // Somebody asked for this one, and may again.
    assert_eq!(store.get(&0_u32.to_be_bytes()).unwrap(), None);
    commit_and_apply(&mut stores);
    assert_eq!(entries(&stores), 1);
    let held = stores.statistics(STORE).unwrap();
    assert!(held.cache_bytes < 200, "{} bytes", held.cache_bytes);
    for key in 0..2 * KEYS {
        assert_eq!(stores.bound(STORE).get(&key.to_be_bytes()).unwrap(), None);
    }
}
