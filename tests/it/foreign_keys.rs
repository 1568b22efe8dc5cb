//! Foreign-key joins of tables that are not kept, and in a task that is not the first of its kind.

use std::sync::Arc;

use tidemill::driver::TopologyTestDriver;
use tidemill::prelude::*;
use tidemill_state::{ApplyPolicy, StateMemory, TaskStores};
use tidemill_topology::node::{Host, Outgoing, SinkTopic};
use tidemill_topology::store::{BytesStore, StoreIndex};

fn table(builder: &StreamsBuilder, topic: &str) -> KTable<String, String> {
    builder.table(topic, Consumed::with(Utf8, Utf8), Materialized::named(topic, Utf8))
}

/// Keeps a table, or does not.
fn kept(table: KTable<String, String>, name: &str, keeps: bool) -> KTable<String, String> {
    match keeps {
        true => table.materialized(Materialized::named(name, Utf8)),
        false => table.with_values(Utf8),
    }
}

/// The customer whom an order names first.
fn customer(order: &str) -> Option<String> {
    order.split(' ').next().map(str::to_owned)
}

/// Orders whose first letter is upper case with customers who are not blocked, each kept or not.
fn derived(keeps: bool) -> Topology {
    let builder = StreamsBuilder::new();
    let orders = table(&builder, "orders").map_values(|order| order.to_lowercase());
    let customers = table(&builder, "customers").filter(|_, customer| customer != "blocked");
    kept(orders, "lower", keeps)
        .left_join_by_foreign_key(
            &kept(customers, "unblocked", keeps),
            |_, order| customer(order),
            |_, order, customer| format!("{order} of {customer:?}"),
            TableJoined::new().named("owner"),
        )
        .to_stream()
        .to("out", Produced::with(Utf8, Nullable(Utf8)));
    builder.build().unwrap()
}

#[test]
fn tables_that_are_not_kept_join_as_those_that_are() {
    let results = |topology: &Topology| {
        let driver = TopologyTestDriver::new(topology).unwrap();
        let (orders, customers) = (
            driver.input_topic("orders", Utf8, Nullable(Utf8)),
            driver.input_topic("customers", Utf8, Nullable(Utf8)),
        );
        for step in 0..120_i64 {
            let name = ["ann", "bob", "cid"][(step * step % 7 % 3) as usize];
            let row = ["1", "2", "3", "4"][(step * 5 % 11 % 4) as usize];
            match step % 3 {
                0 => {
                    let facts = ["old", "blocked", "new"][(step / 3 % 3) as usize];
                    customers.pipe(name, (step % 4 != 0).then_some(facts.into()), step).unwrap();
                }
                _ => {
                    let order = format!("{} TEA", name.to_uppercase());
                    orders.pipe(row, (step % 5 != 0).then_some(order), step).unwrap();
                }
            }
        }
        driver.output_topic("out", Utf8, Nullable(Utf8)).read_pairs().unwrap()
    };
    let computed = derived(false);
    let stores: Vec<String> =
        computed.describe().subtopologies.into_iter().flat_map(|one| one.stores).collect();
    assert_eq!(stores, ["orders", "customers", "owner-subscription-store"]);
    let of_computed = results(&computed);
    let has =
        |text: &str| of_computed.iter().flat_map(|(_, row)| row).any(|row| row.contains(text));
    assert!(has("tea of Some(\"new\")") && has("tea of None"), "{of_computed:?}");
    assert_eq!(of_computed, results(&derived(true)));
}

#[test]
fn a_join_whose_values_have_no_serde_does_not_build() {
    let builder = StreamsBuilder::new();
    let orders = table(&builder, "orders").map_values(|order| order.to_lowercase());
    let customers = table(&builder, "customers");
    let name = |_: &String, order: &String| customer(order);
    let _ = orders.join_by_foreign_key(
        &customers,
        name,
        |_, order, _| order.clone(),
        TableJoined::new(),
    );
    let refused = builder.build().err().unwrap().to_string();
    assert!(refused.contains("call with_values(..)"), "{refused}");
}

/// What a task needs of its surroundings, and what it sent.
struct Surroundings {
    stores: TaskStores,
    sent: Vec<(String, Vec<u8>)>,
}

impl Host for Surroundings {
    fn store(&mut self, index: StoreIndex) -> &mut dyn BytesStore {
        self.stores.bound(index)
    }

    fn send(&mut self, record: Outgoing<'_>) -> Result {
        self.sent.push((record.topic.name.to_string(), record.value.unwrap_or_default().into()));
        Ok(())
    }

    fn partitions(&mut self, _: &SinkTopic) -> Option<i32> {
        Some(8)
    }

    fn wall_clock(&self) -> Timestamp {
        Timestamp::new(0)
    }

    fn global_get(&mut self, _: &str, _: &[u8], _: &mut Vec<u8>) -> Result<bool> {
        Ok(false)
    }
}

/// The answer comes back to the partition that a subscription names. A change that was held back
/// goes on while no record is processed, so it cannot be that of a record.
#[test]
fn a_subscription_that_was_held_back_names_the_partition_of_its_task() {
    const PARTITION: i32 = 5;
    let builder = StreamsBuilder::new();
    let calmer = Materialized::named("orders", Utf8).caching(true);
    let orders = builder.table("orders", Consumed::with(Utf8, Utf8), calmer);
    let customers = table(&builder, "customers");
    let _ = orders
        .join_by_foreign_key(
            &customers,
            |_, order| customer(order),
            |_, order, customer| format!("{order} of {customer}"),
            TableJoined::new().named("owner"),
        )
        .materialized(Materialized::named("owned", Utf8));
    let topology = builder.build().unwrap();
    let subtopology = &topology.subtopologies()[0];
    let memory = StateMemory::new(8 << 20);
    let specs = topology.stores(subtopology);
    let stores = TaskStores::open("0_5", &specs, None, &memory, ApplyPolicy::default()).unwrap();
    let mut host = Surroundings { stores, sent: Vec::new() };
    let mut task = topology.task(subtopology.id, Arc::new(Handlers::default())).unwrap();
    task.set_partition(PARTITION);
    task.init(&mut host).unwrap();
    let input = task.input("orders").unwrap();
    let record = RawRecord {
        topic: "orders",
        partition: PARTITION,
        offset: 0,
        timestamp: Timestamp::new(1),
        key: Some(b"1"),
        value: Some(b"ann tea"),
        headers: Headers::none(),
    };
    task.process(input, &record, &mut host).unwrap();
    assert_eq!(host.sent.len(), 0, "the change is held back");
    task.flush(&mut host).unwrap();
    let (topic, subscription) = &host.sent[0];
    assert_eq!(topic, "owner-subscription-registration-topic");
    // One byte of instruction, then the partition.
    assert_eq!(subscription[1..5], PARTITION.to_be_bytes());
}
