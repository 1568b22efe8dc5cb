//! A `read_committed` consumer that notes when the updates of each asset come, to see for how long
//! the task of an asset stood still.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Message, Offset, TopicPartitionList};
use serde_json::Value;

use super::market::Market;

/// When the order updates of each asset were seen.
#[derive(Debug, Default)]
pub struct Arrivals(BTreeMap<String, Vec<Instant>>);

impl Arrivals {
    /// Follows the order updates from now on, until `done` is set.
    pub fn until(market: &Market, done: &AtomicBool) -> Self {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", market.bootstrap())
            .set("group.id", "tidemill-test-gaps")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("fetch.wait.max.ms", "20")
            .create()
            .expect("a consumer");
        let mut assignment = TopicPartitionList::new();
        let added = assignment.add_partition_offset(&market.topic("order-updates"), 0, Offset::End);
        added.expect("the end is an offset");
        consumer.assign(&assignment).expect("a partition that exists");
        let mut arrivals = Self::default();
        while !done.load(Ordering::Relaxed) {
            let Some(message) = consumer.poll(Duration::from_millis(20)) else { continue };
            let message = message.expect("a committed record");
            let update: Value = serde_json::from_slice(message.payload().unwrap_or_default())
                .expect("an order update as JSON");
            let asset = update["asset_id"].as_str().expect("an asset").to_owned();
            arrivals.0.entry(asset).or_default().push(Instant::now());
        }
        arrivals
    }

    /// How many assets there were updates of.
    pub fn assets(&self) -> usize {
        self.0.len()
    }

    /// The longest that any asset had no update, not counting what lies before `start`.
    pub fn longest_gap_since(&self, start: Instant) -> Duration {
        let gaps = self.0.values().flat_map(|times| {
            let pairs = times.windows(2).filter(|pair| pair[1] > start);
            pairs.map(|pair| pair[1].saturating_duration_since(pair[0].max(start)))
        });
        gaps.max().unwrap_or_default()
    }
}
