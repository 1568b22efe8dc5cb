//! What state costs: a look-up and a write, a commit's changes down into RocksDB, a restore.

use criterion::{BatchSize, Criterion, Throughput};
use tempfile::TempDir;
use tidemill::prelude::*;
use tidemill_state::{ApplyPolicy, Position, StateMemory, TaskStores};
use tidemill_topology::store::StoreIndex;
use tidemill_topology::store::spec::ChangelogEntry;

const STORE: StoreIndex = StoreIndex(0);
const NOW: Timestamp = Timestamp::new(1);
/// Keys of one commit.
const CHANGED: u64 = 50_000;
/// Keys that the cache cannot hold.
const COLD: u64 = 1_000_000;
const RESTORED: u64 = 500_000;

/// Stores in a folder that goes with them.
struct Opened {
    stores: TaskStores,
    _folder: TempDir,
}

fn open() -> Opened {
    let folder = tempfile::tempdir().unwrap();
    let specs = [StoreSpec::new("counts", StoreKind::KeyValue)];
    let memory = StateMemory::new(32 << 20);
    let path = Some(folder.path());
    let stores = TaskStores::open("0_0", &specs, path, &memory, ApplyPolicy::default()).unwrap();
    Opened { stores, _folder: folder }
}

/// Spreads numbers over all keys, so that neighbours in time are none in the store.
fn scattered(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

fn key(number: u64) -> [u8; 16] {
    let mut key = *b"account-........";
    key[8..].copy_from_slice(&scattered(number).to_be_bytes());
    key
}

fn position(offset: u64) -> Position {
    Position { offset: offset as i64, topic_id: None, leader_epoch: None, caught_up_at_ms: 1 }
}

fn put(stores: &mut TaskStores, number: u64) {
    stores.bound(STORE).put(&key(number), &number.to_be_bytes(), NOW).unwrap();
}

/// What a commit does with the changes, but for sending them: then down into the engine.
fn commit_and_apply(stores: &mut TaskStores) -> usize {
    let mut sent = 0;
    let handed_out = stores.for_each_unlogged(|_, entry| {
        sent += entry.key.len();
        Ok::<(), ()>(())
    });
    assert_eq!(handed_out, Ok(()));
    stores.committed(&[(STORE, position(1))], &[], 0).unwrap();
    stores.apply().unwrap();
    sent
}

/// A key that the write set knows, and one that only RocksDB does.
pub fn get_and_put(c: &mut Criterion) {
    let mut warm = open();
    for number in 0..10_000 {
        put(&mut warm.stores, number);
    }
    let mut group = c.benchmark_group("store");
    group.throughput(Throughput::Elements(1));
    let mut next = 0;
    group.bench_function("get, in memory", |b| {
        b.iter(|| {
            next = (next + 1) % 10_000;
            warm.stores.bound(STORE).get(&key(next)).unwrap().map(<[u8]>::len)
        });
    });
    group.bench_function("put, in memory", |b| {
        b.iter(|| {
            next = (next + 1) % 10_000;
            put(&mut warm.stores, next);
        });
    });

    let mut cold = open();
    for chunk in 0..10 {
        for number in 0..COLD / 10 {
            put(&mut cold.stores, chunk * (COLD / 10) + number);
        }
        commit_and_apply(&mut cold.stores);
    }
    group.bench_function("get, from RocksDB", |b| {
        b.iter(|| {
            next += 1;
            let number = scattered(next) % COLD;
            cold.stores.bound(STORE).get(&key(number)).unwrap().map(<[u8]>::len)
        });
    });
    group.finish();
}

/// The write set of a commit: handed out for the changelog, sorted, applied to RocksDB.
pub fn commit(c: &mut Criterion) {
    let mut group = c.benchmark_group("commit");
    group.throughput(Throughput::Elements(CHANGED));
    group.sample_size(10);
    let mut opened = open();
    let mut from = 0;
    group.bench_function("write set", |b| {
        b.iter_custom(|times| {
            let mut spent = std::time::Duration::ZERO;
            for _ in 0..times {
                from = (from + CHANGED) % COLD;
                for number in from..from + CHANGED {
                    put(&mut opened.stores, number);
                }
                let started = std::time::Instant::now();
                std::hint::black_box(commit_and_apply(&mut opened.stores));
                spent += started.elapsed();
            }
            spent
        });
    });
    group.finish();
}

/// A changelog's records into an empty store.
pub fn restore(c: &mut Criterion) {
    let entries: Vec<([u8; 16], [u8; 8])> =
        (0..RESTORED).map(|number| (key(number), number.to_be_bytes())).collect();
    let mut group = c.benchmark_group("restore");
    group.throughput(Throughput::Elements(RESTORED));
    group.sample_size(10);
    group.bench_function("into RocksDB", |b| {
        b.iter_batched_ref(
            open,
            |opened| {
                let mut next = 0;
                for chunk in entries.chunks(50_000) {
                    next += chunk.len() as u64;
                    let records = chunk.iter().map(|(key, value)| ChangelogEntry {
                        key,
                        value: Some(value),
                        timestamp: NOW,
                    });
                    opened.stores.restore(STORE, records, position(next)).unwrap();
                }
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}
