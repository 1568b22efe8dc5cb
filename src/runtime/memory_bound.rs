//! What the memory of an instance adds up to at most: the sum that its configuration states.
//!
//! | part | bytes |
//! |---|---|
//! | `program` | the binary, its libraries, threads and HTTP: 48 MiB |
//! | `tasks` | 0.8 MiB a task, copies included: its database's files and librdkafka's partitions |
//! | `state` | `state.memory.bytes`: RocksDB, entries kept for reads, committed writes that wait |
//! | `uncommitted` | `write.set.max.bytes` a thread |
//! | `held_back` | `statestore.cache.max.bytes` |
//! | `fetched` | `fetch.memory.bytes`, once for records to process and once for those to restore |
//! | `produced` | `queue.buffering.max.kbytes` a thread |
//! | `packed` | a thread's open pack for each partition of repartition topics, which grows to 16 KiB |
//!
//! Outside of it is what a topology keeps itself: stores in memory, global tables, objects of its
//! operators such as the exchange's books.

use std::collections::BTreeMap;

use super::pack::PACK_BYTES;
use crate::config::Config;
use crate::kafka::PRODUCER_QUEUE_KIB;

const MIB: u64 = 1 << 20;
const PROGRAM: u64 = 48 * MIB;
const TASK: u64 = 4 * MIB / 5;
/// A consumer with less could not take the largest record.
const LEAST_FETCHED: u64 = 16 * MIB;
/// Records of 150 bytes that come packed to a quarter of that, with 350 bytes for each besides its
/// own, take some fifteen times what the response took.
const UNPACKED: u64 = 16;
/// Bytes of `fetch.memory.bytes` for each record that waits to be taken, so that those which wait
/// leave room for a response.
const A_QUEUED_RECORD: u64 = 3_200;

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryBound {
    parts: [(&'static str, u64); 8],
}

impl MemoryBound {
    /// For an instance with that many tasks, copies included, of a topology whose repartition topics
    /// have that many partitions together.
    #[must_use]
    pub fn new(config: &Config, tasks: usize, repartitioned: u64) -> Self {
        let threads = config.runtime.threads as u64;
        let properties = &config.kafka.properties;
        let queue = ["producer.queue.buffering.max.kbytes", "queue.buffering.max.kbytes"]
            .into_iter()
            .find_map(|name| properties.get(name))
            .unwrap_or(PRODUCER_QUEUE_KIB);
        // One that is no number was refused with the other properties.
        let queue: u64 = queue.parse().unwrap_or_default();
        Self {
            parts: [
                ("program", PROGRAM),
                ("tasks", tasks as u64 * TASK),
                ("state", config.state.memory_bytes),
                ("uncommitted", config.runtime.write_set_max_bytes.saturating_mul(threads)),
                ("held_back", config.state.cache_max_bytes),
                ("fetched", fetched_by_one(config).saturating_mul(2 * threads)),
                ("produced", queue.saturating_mul(1024 * threads)),
                ("packed", repartitioned.saturating_mul(2 * PACK_BYTES as u64 * threads)),
            ],
        }
    }

    /// The parts: what for, and bytes.
    #[must_use]
    pub fn parts(&self) -> &[(&'static str, u64)] {
        &self.parts
    }
}

/// What the fetched records of one consumer may take, in bytes: each thread has its part.
fn fetched_by_one(config: &Config) -> u64 {
    (config.kafka.fetch_memory_bytes / config.runtime.threads.max(1) as u64).max(LEAST_FETCHED)
}

/// The same as librdkafka's properties: a bound of what waits, of a response, and of how many wait
/// before the next response is asked for.
pub(super) fn fetch_properties(config: &Config) -> BTreeMap<String, String> {
    let bytes = fetched_by_one(config);
    BTreeMap::from(
        [
            ("consumer.queued.max.messages.kbytes", (bytes / 1024).min(2_097_151)),
            ("consumer.fetch.max.bytes", (bytes / UNPACKED).min(4 * MIB)),
            ("consumer.queued.min.messages", (bytes / A_QUEUED_RECORD).min(20_000)),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_string())),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str) -> Config {
        let text = format!("application.id = 'a'\nbootstrap.servers = 'b:1'\n{more}");
        Config::from_toml("test.toml", &text).unwrap()
    }

    fn part(bound: &MemoryBound, name: &str) -> u64 {
        bound.parts().iter().find(|(part, _)| *part == name).unwrap().1
    }

    #[test]
    fn the_bound_is_the_sum_of_what_is_configured() {
        let text = "threads = 2\n'state.memory.bytes' = '64 MiB'\n'write.set.max.bytes' = '8 MiB'\n\
                    'statestore.cache.max.bytes' = '1 MiB'\n'fetch.memory.bytes' = '64 MiB'\n\
                    [kafka]\n'queue.buffering.max.kbytes' = 4096\n";
        let bound = MemoryBound::new(&config(text), 10, 64);
        let total: u64 = bound.parts().iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(total, 10 * TASK + (48 + 64 + 16 + 1 + 128 + 8 + 2) * MIB);
        assert_eq!(part(&bound, "produced"), 8 * MIB);
    }

    #[test]
    fn a_limit_that_somebody_sets_is_theirs() {
        let config = config("[kafka]\n'fetch.max.bytes' = 5000000\n");
        let properties = crate::runtime::streams::properties(&config);
        assert_eq!(properties["fetch.max.bytes"], "5000000");
        assert!(!properties.contains_key("consumer.fetch.max.bytes"));
        assert!(properties.contains_key("consumer.queued.min.messages"));
    }

    #[test]
    fn every_consumer_can_take_the_largest_record() {
        let config = config("threads = 4\n'fetch.memory.bytes' = '1 MiB'\n");
        assert_eq!(part(&MemoryBound::new(&config, 0, 0), "fetched"), 128 * MIB);
        assert_eq!(fetch_properties(&config)["consumer.fetch.max.bytes"], (1 << 20).to_string());
    }
}
