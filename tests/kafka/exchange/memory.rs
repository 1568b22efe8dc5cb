//! Memory stays within what the configuration adds up to, however many tasks an instance has.

use std::thread;
use std::time::Duration;

use tidemill_test_support::KafkaCluster;
use tidemill_test_support::metrics::{samples, total};

use super::flow::generated_of;
use super::market::{Market, Running};
use super::sender::Sender;

/// With three subtopologies: 96 tasks.
const PARTITIONS: i32 = 32;
const ORDERS: usize = 300_000;
const ASSETS: u32 = 1_000;
const MIB: f64 = 1_048_576.0;

#[test]
fn ninety_six_tasks_under_load_stay_within_the_bound() {
    const SETTINGS: [(&str, &str); 6] = [
        ("threads", "2"),
        ("state.memory.bytes", "33554432"),
        ("write.set.max.bytes", "4194304"),
        ("fetch.memory.bytes", "33554432"),
        ("statestore.cache.max.bytes", "1048576"),
        ("kafka.producer.queue.buffering.max.kbytes", "4096"),
    ];
    let market = Market::open(&KafkaCluster::shared().bootstrap(), PARTITIONS);
    let sender = Sender::to(&market);
    // A backlog, so that the instance has as much to do as it can take.
    for orders in generated_of(ASSETS, ORDERS, 96).chunks(20_000) {
        sender.send(orders);
    }
    let mut one = market.start_ready("one", &SETTINGS);
    assert_eq!(one.running_tasks().len(), 96);

    let mut peaks = [
        ("process_resident_memory_bytes", 0.0),
        ("tidemill_rocksdb_memory_bytes", 0.0),
        ("tidemill_write_set_bytes", 0.0),
    ];
    thread::scope(|scope| {
        let all = scope.spawn(|| market.wait_processed());
        while !all.is_finished() {
            let page = page_of(&mut one);
            for (name, peak) in &mut peaks {
                *peak = f64::max(*peak, total(&page, name));
            }
            thread::sleep(Duration::from_millis(100));
        }
    });

    let page = page_of(&mut one);
    for (part, bound) in samples(&page, "tidemill_memory_bound_bytes") {
        println!("{part:24} at most {:6.1} MiB", bound / MIB);
    }
    let bound = total(&page, "tidemill_memory_bound_bytes");
    println!("all together: at most {:.1} MiB; the most that was seen:", bound / MIB);
    for (name, peak) in peaks {
        println!("{name:32} {:6.1} MiB", peak / MIB);
    }
    let [(_, resident), (_, rocksdb), (_, write_sets)] = peaks;
    assert!(resident < bound, "{resident} of {bound}");
    assert!(rocksdb < total(&page, "tidemill_rocksdb_memory_limit_bytes"), "{rocksdb}");
    // Were there little to do, staying below would be no feat.
    assert!(resident > bound / 3.0 && write_sets > 0.0, "{resident} of {bound}, {write_sets}");
    one.stop();
}

fn page_of(one: &mut Running) -> String {
    let (status, page) = one.get("/metrics");
    assert_eq!(status, 200, "{page}");
    page
}
