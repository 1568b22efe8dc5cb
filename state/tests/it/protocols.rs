//! The commit and restore protocols step by step.

use std::ops::ControlFlow;
use std::path::Path;

use tidemill_state::{Applied, ApplyPolicy, InputOffset, StateError, StateMemory, TaskStores};
use tidemill_topology::store::bytes::{KeyRange, Order};
use tidemill_topology::store::spec::ChangelogEntry;
use tidemill_topology::store::{StoreIndex, StoreKind, StoreSpec};
use tidemill_topology::time::Timestamp;

use crate::model::position;

const NAMES: StoreIndex = StoreIndex(0);
const WINDOWS: StoreIndex = StoreIndex(1);
const NOW: Timestamp = Timestamp::new(1_000);

fn specs() -> Vec<StoreSpec> {
    let windows = StoreKind::Window { window_ms: 10, retention_ms: 100, segment_ms: 50 };
    vec![StoreSpec::new("names", StoreKind::KeyValue), StoreSpec::new("windows", windows)]
}

fn open(path: &Path) -> TaskStores {
    open_with(path, &specs()).unwrap()
}

fn open_with(path: &Path, specs: &[StoreSpec]) -> Result<TaskStores, StateError> {
    TaskStores::open("0_1", specs, Some(path), &StateMemory::new(16 << 20), ApplyPolicy::default())
}

/// Store, key, value and timestamp of a changelog record.
type Logged = (StoreIndex, Vec<u8>, Option<Vec<u8>>, i64);

fn logged(stores: &mut TaskStores) -> Vec<Logged> {
    let mut records = Vec::new();
    let handed_out = stores.for_each_unlogged(|store, entry| {
        let value = entry.value.map(<[u8]>::to_vec);
        records.push((store, entry.key.to_vec(), value, entry.timestamp.millis()));
        Ok::<(), ()>(())
    });
    handed_out.unwrap();
    records
}

fn commit(stores: &mut TaskStores, next: usize) {
    logged(stores);
    stores.committed(&[(NAMES, position(next))], &[], 0).unwrap();
}

fn get(stores: &mut TaskStores, key: &[u8]) -> Option<Vec<u8>> {
    stores.store(NAMES).unwrap().get(key).unwrap().map(<[u8]>::to_vec)
}

fn put(stores: &mut TaskStores, key: &[u8], value: &[u8]) {
    stores.store(NAMES).unwrap().put(key, value, NOW).unwrap();
}

#[test]
fn changes_are_logged_once_each_in_the_form_of_the_changelog() {
    let root = tempfile::tempdir().unwrap();
    let mut stores = open(root.path());
    put(&mut stores, b"b", b"1");
    put(&mut stores, b"a", b"2");
    put(&mut stores, b"b", b"3");
    let window_key = [&[0; 8][..], b"k", &[0, 0, 0, 0, 0, 0, 0, 9], &[0; 4]].concat();
    stores.store(WINDOWS).unwrap().put(&window_key, b"w", Timestamp::new(9)).unwrap();
    let expected = vec![
        (NAMES, b"b".to_vec(), Some(b"3".to_vec()), 1_000),
        (NAMES, b"a".to_vec(), Some(b"2".to_vec()), 1_000),
        (WINDOWS, window_key[8..].to_vec(), Some(b"w".to_vec()), 9),
    ];
    assert_eq!(logged(&mut stores), expected);
    stores.committed(&[], &[], 0).unwrap();
    assert_eq!(logged(&mut stores), []);
}

#[test]
fn a_probe_sees_whatever_happened_since_the_one_before() {
    let root = tempfile::tempdir().unwrap();
    let mut stores = open(root.path());
    let probe = |stores: &mut TaskStores| {
        let mut found = String::new();
        let range = KeyRange { from: b"a", to: Some(b"d") };
        let store = stores.store(NAMES).unwrap();
        let visited = store.probe(range, &mut |key, _| {
            found.push_str(std::str::from_utf8(key).unwrap());
            ControlFlow::Continue(())
        });
        visited.unwrap();
        found
    };
    put(&mut stores, b"b", b"1");
    put(&mut stores, b"d", b"1");
    assert_eq!(probe(&mut stores), "b");
    commit(&mut stores, 2);
    assert_eq!(probe(&mut stores), "b");
    stores.apply().unwrap();
    assert_eq!(probe(&mut stores), "b");
    put(&mut stores, b"a", b"1");
    assert_eq!(probe(&mut stores), "ab");
    commit(&mut stores, 3);
    stores.apply().unwrap();
    assert_eq!(probe(&mut stores), "ab");
    let key = b"c".as_slice();
    let record = ChangelogEntry { key, value: Some(b"1"), timestamp: NOW };
    stores.restore(NAMES, [record], position(4)).unwrap();
    assert_eq!(probe(&mut stores), "abc");
    put(&mut stores, b"bb", b"1");
    stores.rollback();
    assert_eq!(probe(&mut stores), "abc");
    stores.wipe(NAMES).unwrap();
    assert_eq!(probe(&mut stores), "");
}

#[test]
fn what_came_and_went_between_two_commits_leaves_no_trace() {
    let root = tempfile::tempdir().unwrap();
    let mut stores = open(root.path());
    let store = stores.store(NAMES).unwrap();
    store.insert(b"order-1", b"x", NOW).unwrap();
    store.delete(b"order-1", NOW).unwrap();
    assert_eq!(store.get(b"order-2").unwrap(), None);
    store.put(b"order-2", b"x", NOW).unwrap();
    store.delete(b"order-2", NOW).unwrap();
    store.delete(b"never-there", NOW).unwrap();
    assert_eq!(logged(&mut stores), []);
    assert_eq!(stores.dirty_bytes(), 0);
}

#[test]
fn a_store_without_a_changelog_of_its_own_logs_nothing() {
    let root = tempfile::tempdir().unwrap();
    let mut specs = specs();
    specs[0].logged = false;
    specs[1].changelog_source = Some("table".into());
    let mut stores = open_with(root.path(), &specs).unwrap();
    put(&mut stores, b"a", b"1");
    stores.store(WINDOWS).unwrap().put(&[1; 24], b"w", NOW).unwrap();
    assert_eq!(logged(&mut stores), []);
    stores.committed(&[], &[], 0).unwrap();
    assert_eq!(stores.apply().unwrap(), Applied::All);
    drop(stores);
    let mut stores = open_with(root.path(), &specs).unwrap();
    assert_eq!(get(&mut stores, b"a"), Some(b"1".to_vec()));
}

#[test]
fn nothing_uncommitted_reaches_the_disk() {
    let root = tempfile::tempdir().unwrap();
    let mut stores = open(root.path());
    put(&mut stores, b"a", b"committed");
    commit(&mut stores, 1);
    put(&mut stores, b"a", b"secret");
    put(&mut stores, b"b", b"secret");
    assert_eq!(stores.apply().unwrap(), Applied::Deferred);
    assert_eq!(stores.apply_if_due(i64::MAX).unwrap(), Applied::Deferred);
    stores.flush().unwrap();
    stores.close().unwrap();
    let mut stores = open(root.path());
    // The position did not move without the entry it stands for.
    assert_eq!(stores.position(NAMES), None);
    assert_eq!(get(&mut stores, b"a"), None);
    assert_eq!(get(&mut stores, b"b"), None);
}

#[test]
fn what_is_applied_survives_a_crash_with_its_position_and_inputs() {
    let root = tempfile::tempdir().unwrap();
    let mut stores = open(root.path());
    put(&mut stores, b"a", b"1");
    logged(&mut stores);
    let input = InputOffset { topic: "in".into(), partition: 4, offset: 77 };
    stores.committed(&[(NAMES, position(12))], &[input], 0).unwrap();
    assert_eq!(stores.committed_position(NAMES), Some(position(12)));
    assert_eq!(stores.position(NAMES), None);
    assert_eq!(stores.apply().unwrap(), Applied::All);
    drop(stores);
    let mut stores = open(root.path());
    assert_eq!(stores.position(NAMES), Some(position(12)));
    assert_eq!(stores.position(WINDOWS), None);
    assert_eq!(stores.input_offset("in", 4), Some(77));
    assert_eq!(stores.input_offset("in", 5), None);
    assert_eq!(get(&mut stores, b"a"), Some(b"1".to_vec()));
}

#[test]
fn a_write_while_the_commit_is_under_way_is_noticed() {
    let root = tempfile::tempdir().unwrap();
    let mut stores = open(root.path());
    put(&mut stores, b"a", b"1");
    logged(&mut stores);
    put(&mut stores, b"a", b"2");
    let error = stores.committed(&[], &[], 0).unwrap_err();
    assert!(
        matches!(&error, StateError::ChangedDuringCommit { store } if store == "names"),
        "{error}"
    );
    assert!(stores.has_uncommitted());
}

#[test]
fn entries_are_applied_when_they_are_many_or_old() {
    let root = tempfile::tempdir().unwrap();
    let policy = ApplyPolicy { bytes: 10_000, interval_ms: 500 };
    let memory = StateMemory::new(16 << 20);
    let mut stores = TaskStores::open("0_1", &specs(), Some(root.path()), &memory, policy).unwrap();
    assert_eq!(stores.apply_if_due(0).unwrap(), Applied::NotDue);
    put(&mut stores, b"a", b"1");
    logged(&mut stores);
    stores.committed(&[], &[], 100).unwrap();
    assert_eq!(stores.apply_if_due(599).unwrap(), Applied::NotDue);
    assert_eq!(stores.apply_if_due(600).unwrap(), Applied::All);
    put(&mut stores, b"a", &[1; 20_000]);
    logged(&mut stores);
    stores.committed(&[], &[], 700).unwrap();
    assert_eq!(stores.apply_if_due(700).unwrap(), Applied::All);
    assert_eq!(stores.dirty_bytes(), 0);
}

#[test]
fn a_range_that_expired_stays_gone_and_is_not_logged() {
    let root = tempfile::tempdir().unwrap();
    let mut stores = open(root.path());
    for key in [b"a", b"b", b"c"] {
        put(&mut stores, key, b"1");
    }
    commit(&mut stores, 3);
    stores.apply().unwrap();
    stores.store(NAMES).unwrap().delete_range(b"a", b"c").unwrap();
    assert_eq!(get(&mut stores, b"a"), None);
    assert_eq!(get(&mut stores, b"c"), Some(b"1".to_vec()));
    stores.rollback();
    assert_eq!(get(&mut stores, b"a"), Some(b"1".to_vec()));
    stores.store(NAMES).unwrap().delete_range(b"a", b"c").unwrap();
    assert_eq!(logged(&mut stores), []);
    stores.committed(&[(NAMES, position(3))], &[], 0).unwrap();
    stores.close().unwrap();
    let mut stores = open(root.path());
    assert_eq!(get(&mut stores, b"a"), None);
    assert_eq!(get(&mut stores, b"c"), Some(b"1".to_vec()));
}

#[test]
fn a_restore_of_many_records_equals_the_changelog() {
    let root = tempfile::tempdir().unwrap();
    let mut stores = open(root.path());
    let keys: Vec<String> =
        (0..60_000).map(|n| format!("customer-{:06}", (n * 7_919) % 50_000)).collect();
    let values: Vec<String> =
        (0..60_000).map(|n| format!("value-{n}-{}", "x".repeat(150))).collect();
    // Enough for several files, with later records over earlier ones and deletions among them.
    for (chunk, from) in (0..60_000).step_by(20_000).enumerate() {
        let records = (from..from + 20_000).map(|n| ChangelogEntry {
            key: keys[n].as_bytes(),
            value: (n % 10 != 3).then_some(values[n].as_bytes()),
            timestamp: NOW,
        });
        assert_eq!(stores.restore(NAMES, records, position((chunk + 1) * 20_000)).unwrap(), 20_000);
    }
    let mut expected = std::collections::BTreeMap::new();
    for n in 0..60_000 {
        match n % 10 != 3 {
            true => expected.insert(keys[n].clone(), values[n].clone()),
            false => expected.remove(&keys[n]),
        };
    }
    drop(stores);
    let mut stores = open(root.path());
    assert_eq!(stores.position(NAMES), Some(position(60_000)));
    let mut found = Vec::new();
    let scanned =
        stores.store(NAMES).unwrap().scan(KeyRange::ALL, Order::Forward, &mut |key, value| {
            found.push((
                String::from_utf8_lossy(key).into_owned(),
                String::from_utf8_lossy(value).into_owned(),
            ));
            ControlFlow::Continue(())
        });
    scanned.unwrap();
    assert!(found.into_iter().eq(expected));
    assert!(stores.statistics(NAMES).unwrap().file_bytes > 0);
}

#[test]
fn a_record_of_another_layout_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let mut stores = open(root.path());
    let record = ChangelogEntry { key: b"short", value: Some(b"v"), timestamp: NOW };
    let error = stores.restore(WINDOWS, [record], position(1)).unwrap_err();
    assert!(matches!(error, StateError::ForeignRecord { key_bytes: 5, .. }), "{error}");
    assert_eq!(stores.position(WINDOWS), None);
}

#[test]
fn a_store_is_restored_only_while_nothing_is_uncommitted() {
    let root = tempfile::tempdir().unwrap();
    let mut stores = open(root.path());
    put(&mut stores, b"a", b"1");
    let error = stores.restore(WINDOWS, [], position(1)).unwrap_err();
    assert!(matches!(error, StateError::NotIdle { .. }), "{error}");
}

#[test]
fn a_wiped_store_is_empty_and_has_no_position_also_after_a_crash() {
    let root = tempfile::tempdir().unwrap();
    let mut stores = open(root.path());
    put(&mut stores, b"a", b"1");
    put(&mut stores, &[255; 40], b"2");
    commit(&mut stores, 2);
    stores.apply().unwrap();
    stores.wipe(NAMES).unwrap();
    drop(stores);
    let mut stores = open(root.path());
    assert_eq!(stores.position(NAMES), None);
    assert_eq!(get(&mut stores, b"a"), None);
    assert_eq!(get(&mut stores, &[255; 40]), None);
}

#[test]
fn a_store_of_another_layout_or_without_an_owner_does_not_live_on() {
    let root = tempfile::tempdir().unwrap();
    let mut stores = open(root.path());
    put(&mut stores, b"a", b"1");
    commit(&mut stores, 1);
    stores.close().unwrap();
    let mut changed = specs();
    changed[0].kind = StoreKind::TimestampedKeyValue;
    let mut stores = open_with(root.path(), &changed).unwrap();
    assert_eq!(stores.emptied(), [NAMES]);
    assert_eq!(stores.position(NAMES), None);
    assert_eq!(get(&mut stores, b"a"), None);
    put(&mut stores, b"a", b"1234567890");
    commit(&mut stores, 1);
    stores.close().unwrap();
    // Left out of the topology once, it is empty when it comes back.
    open_with(root.path(), &changed[1..]).unwrap().close().unwrap();
    let mut stores = open_with(root.path(), &changed).unwrap();
    assert_eq!(stores.position(NAMES), None);
    assert_eq!(get(&mut stores, b"a"), None);
}

#[test]
fn a_damaged_database_is_reported_as_such() {
    let root = tempfile::tempdir().unwrap();
    let mut stores = open(root.path());
    put(&mut stores, b"a", b"1");
    commit(&mut stores, 1);
    stores.apply().unwrap();
    stores.flush().unwrap();
    stores.close().unwrap();
    for entry in std::fs::read_dir(root.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "sst") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let error = open_with(root.path(), &specs()).err().expect("files are missing");
    assert!(error.is_corrupt(), "{error}");
    assert!(error.to_string().contains("0_1"), "{error}");
}

#[test]
fn stores_that_are_not_persistent_share_a_task_with_those_that_are() {
    let root = tempfile::tempdir().unwrap();
    let mut specs = specs();
    specs[1].persistent = false;
    let mut stores = open_with(root.path(), &specs).unwrap();
    put(&mut stores, b"a", b"1");
    stores.store(WINDOWS).unwrap().put(&[1; 24], b"w", NOW).unwrap();
    logged(&mut stores);
    stores.committed(&[(NAMES, position(1)), (WINDOWS, position(1))], &[], 0).unwrap();
    stores.apply().unwrap();
    stores.rollback();
    assert!(stores.store(WINDOWS).unwrap().get(&[1; 24]).unwrap().is_some());
    drop(stores);
    let mut stores = open_with(root.path(), &specs).unwrap();
    assert_eq!(get(&mut stores, b"a"), Some(b"1".to_vec()));
    assert_eq!(stores.position(WINDOWS), None);
    assert_eq!(stores.store(WINDOWS).unwrap().get(&[1; 24]).unwrap(), None);
}
