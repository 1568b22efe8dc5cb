//! One bound holds for the process, however many tasks it runs.

use std::time::{Duration, Instant};

use tidemill_state::{ApplyPolicy, StateMemory, TaskStores};
use tidemill_topology::store::{StoreIndex, StoreKind, StoreSpec};
use tidemill_topology::time::Timestamp;

use crate::model::position;

const BOUND: usize = 8 << 20;

#[test]
fn many_tasks_stay_within_the_bound_of_one_process() {
    let memory = StateMemory::new(BOUND);
    let root = tempfile::tempdir().unwrap();
    let mut tasks: Vec<TaskStores> = (0..30)
        .map(|number| {
            let path = root.path().join(format!("0_{number}"));
            let specs = [
                StoreSpec::new("a", StoreKind::KeyValue),
                StoreSpec::new("b", StoreKind::KeyValue),
            ];
            TaskStores::open(
                &format!("0_{number}"),
                &specs,
                Some(&path),
                &memory,
                ApplyPolicy::default(),
            )
            .unwrap()
        })
        .collect();
    let value = [7; 200];
    for round in 0..4_i64 {
        for stores in &mut tasks {
            for n in 0..2_000_u32 {
                let store = stores.store(StoreIndex((n % 2) as usize)).unwrap();
                store
                    .put(format!("key-{round}-{n}").as_bytes(), &value, Timestamp::new(1))
                    .unwrap();
                store.get(format!("key-{}-{n}", round - 1).as_bytes()).unwrap();
            }
            stores.for_each_unlogged(|_, _| Ok::<(), ()>(())).unwrap();
            let next = position(round as usize + 1);
            stores.committed(&[(StoreIndex(0), next), (StoreIndex(1), next)], &[], round).unwrap();
            stores.apply_if_due(round).unwrap();
        }
    }
    // 30 tasks x 8,000 entries of 200 bytes are 48 MB.
    let (mut cached, mut unapplied) = (0, 0);
    for stores in &tasks {
        for index in [StoreIndex(0), StoreIndex(1)] {
            let statistics = stores.statistics(index).unwrap();
            cached += statistics.cache_bytes;
            unapplied += statistics.write_set_bytes;
        }
    }
    assert!(cached <= BOUND / 4 + 60 * 400, "{cached}");
    assert!(unapplied <= BOUND / 4, "{unapplied}");
    // Write buffers are flushed in the background, and each open one keeps a first block.
    let slack = 30 * 3 * (64 << 10);
    let deadline = Instant::now() + Duration::from_secs(20);
    while memory.engine_statistics().block_cache_used_bytes > BOUND / 2 + slack {
        assert!(Instant::now() < deadline, "{:?}", memory.engine_statistics());
        std::thread::sleep(Duration::from_millis(20));
    }
    for stores in &mut tasks {
        assert!(stores.store(StoreIndex(1)).unwrap().get(b"key-0-1").unwrap().is_some());
    }
}
