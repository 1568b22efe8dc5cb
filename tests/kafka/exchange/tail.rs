//! A `read_committed` consumer that follows a topic, to see the moment when something new appears.

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use tidemill_test_support::records::watermarks;

use super::market::LIMIT;

/// A fetch comes within less, so after this nothing is left.
const QUIET: Duration = Duration::from_millis(300);

/// Follows all partitions of one topic from the start.
pub struct Tail {
    consumer: BaseConsumer,
    /// Committed records seen so far.
    pub seen: u64,
}

impl Tail {
    /// Follows a topic that exists.
    pub fn of(bootstrap: &str, topic: &str) -> Self {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", "tidemill-test-tail")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("fetch.wait.max.ms", "20")
            .create()
            .expect("a consumer");
        let partitions = watermarks(bootstrap, topic).len() as i32;
        let mut assignment = TopicPartitionList::new();
        for partition in 0..partitions {
            let added = assignment.add_partition_offset(topic, partition, Offset::Beginning);
            added.expect("the beginning is an offset");
        }
        consumer.assign(&assignment).expect("partitions that exist");
        Self { consumer, seen: 0 }
    }

    fn poll(&mut self) {
        match self.consumer.poll(Duration::from_millis(10)) {
            Some(Ok(_)) => self.seen += 1,
            Some(Err(error)) => panic!("following a topic: {error}"),
            None => {}
        }
    }

    /// Reads what is committed while nobody writes; a transaction may have been left open.
    pub fn drain(&mut self) {
        let (mut before, mut since) = (self.seen, Instant::now());
        while since.elapsed() < QUIET {
            self.poll();
            if self.seen > before {
                (before, since) = (self.seen, Instant::now());
            }
        }
    }

    /// Waits for one more committed record.
    pub fn wait_for_more(&mut self) -> Instant {
        let (before, started) = (self.seen, Instant::now());
        while self.seen == before {
            assert!(started.elapsed() < LIMIT, "nothing new was committed within {LIMIT:?}");
            self.poll();
        }
        Instant::now()
    }
}
