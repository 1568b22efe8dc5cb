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
    stores.for_each_unlogged(|_, _| Ok::<(), ()>(())).unwrap();
    stores.committed(&[(STORE, position(1))], &[], 0).unwrap();
    stores.apply().unwrap();
    stores.flush().unwrap();
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
