//! A `read_committed` consumer that follows a topic, to see the moment when something new appears.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use tidemill_test_support::records::watermarks;

use super::market::LIMIT;

/// Follows all partitions of one topic from the start.
pub struct Tail {
    consumer: BaseConsumer,
    partitions: i32,
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
            .set("enable.partition.eof", "true")
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
        Self { consumer, partitions, seen: 0 }
    }

    /// Reads for a while; says which partition's end it met, if it met one.
    fn poll(&mut self) -> Option<i32> {
        match self.consumer.poll(Duration::from_millis(10)) {
            Some(Ok(_)) => self.seen += 1,
            Some(Err(KafkaError::PartitionEOF(partition))) => return Some(partition),
            Some(Err(error)) => panic!("following a topic: {error}"),
            None => {}
        }
        None
    }

    /// Reads what is committed now. It must be that nobody writes; an open transaction may be left.
    pub fn drain(&mut self) {
        // An end that was met before is not told again, so quiet has to do for it.
        let mut quiet = Instant::now();
        let mut ends = HashSet::new();
        while quiet.elapsed() < Duration::from_millis(100) && ends.len() < self.partitions as usize
        {
            let before = self.seen;
            ends.extend(self.poll());
            if self.seen > before {
                quiet = Instant::now();
                ends.clear();
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
