//! What a record costs before and between operators: JSON in, and a hop from node to node.

use std::sync::Arc;

use criterion::{Criterion, Throughput};
use tidemill::exchange::Order;
use tidemill::prelude::*;
use tidemill_topology::node::{Host, Outgoing, SinkTopic};
use tidemill_topology::store::{BytesStore, StoreIndex};

/// About as long as a real one.
const ORDER: &[u8] = br#"{"order_id":"1742861","investor_id":"inv5684","asset_id":"asset24","current_shares":609,"shares":98,"price":157.69,"order_type":"BUY","action":"NEW"}"#;

/// Operators in the chain whose hops are counted.
const HOPS: usize = 8;

/// An order out of its JSON: the exchange's own reader, and serde's.
pub fn deserialize(c: &mut Criterion) {
    let mut group = c.benchmark_group("deserialize");
    group.throughput(Throughput::Bytes(ORDER.len() as u64));
    group.bench_function("order", |b| b.iter(|| Order::from_json(std::hint::black_box(ORDER))));
    group.bench_function("order by serde", |b| {
        b.iter(|| serde_json::from_slice::<Order>(std::hint::black_box(ORDER)));
    });
    group.finish();
}

/// A record through filters, one after the other, to a sink that counts.
pub fn dispatch(c: &mut Criterion) {
    let builder = StreamsBuilder::new();
    let mut stream = builder.stream("numbers", Consumed::with(I64, I64));
    for _ in 0..HOPS {
        stream = stream.filter(|_, number| *number >= 0);
    }
    stream.to("same-numbers", Produced::with(I64, I64));
    let topology = builder.build().unwrap();
    let subtopology = topology.subtopologies()[0].id;
    let mut task = topology.task(subtopology, Arc::new(Handlers::default())).unwrap();
    let input = task.input("numbers").unwrap();
    let mut host = Counter::default();
    task.init(&mut host).unwrap();
    let record = RawRecord {
        key: Some(&[0; 8]),
        value: Some(&[1; 8]),
        timestamp: Timestamp::new(1),
        ..RawRecord::none()
    };
    task.process(input, &record, &mut host).unwrap();
    assert_eq!(host.sent, 1, "a record goes through all of them");

    let mut group = c.benchmark_group("dispatch");
    group.throughput(Throughput::Elements(HOPS as u64));
    group.bench_function("hops", |b| {
        b.iter(|| task.process(input, std::hint::black_box(&record), &mut host).unwrap());
    });
    group.finish();
}

/// A place that only counts what leaves the task.
#[derive(Default)]
struct Counter {
    sent: u64,
}

impl Host for Counter {
    fn store(&mut self, _: StoreIndex) -> &mut dyn BytesStore {
        unreachable!("the topology has no stores")
    }

    fn send(&mut self, _: Outgoing<'_>) -> Result {
        self.sent += 1;
        Ok(())
    }

    fn partitions(&mut self, _: &SinkTopic) -> Option<i32> {
        None
    }

    fn wall_clock(&self) -> Timestamp {
        Timestamp::new(0)
    }

    fn global_get(&mut self, _: &str, _: &[u8], _: &mut Vec<u8>) -> Result<bool> {
        Ok(false)
    }
}
