//! The commits of a group, watched from outside: how long each partition stood still, and how soon
//! after a fault everything moved again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};

/// How often the committed offsets are looked at. Much less often, and the client may sleep for a
/// second before it sends the question.
const LOOK: Duration = Duration::from_millis(50);
/// A coordinator that does not answer within this is asked again.
const ANSWER: Duration = Duration::from_secs(2);

/// A partition of a topic.
pub type Place = (String, i32);

/// The moments at which the offset committed in a place was seen to have moved on, in their order.
type Advances = BTreeMap<Place, Vec<Instant>>;

/// The commits of one group to some topics. They have to be busy: a place without new records
/// stands still as well.
pub struct Progress {
    bootstrap: String,
    group: String,
    places: Vec<Place>,
    advances: Mutex<Advances>,
}

/// The longest time for which a place stood still.
#[derive(Clone, Debug)]
pub struct Stall {
    pub place: Place,
    pub time: Duration,
    /// When it began, since the first of the two moments between which it was looked for.
    pub began: Duration,
}

impl Progress {
    /// Of a group and its topics, all of which have that many partitions.
    pub fn of(bootstrap: &str, group: &str, topics: &[String], partitions: i32) -> Self {
        let places = topics
            .iter()
            .flat_map(|topic| (0..partitions).map(move |partition| (topic.clone(), partition)))
            .collect();
        let (bootstrap, group) = (bootstrap.to_owned(), group.to_owned());
        Self { bootstrap, group, places, advances: Mutex::default() }
    }

    /// Looks until told to stop.
    pub fn watch(&self, stop: impl Fn() -> bool) {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("group.id", &self.group)
            .set("enable.auto.commit", "false")
            // Under read_committed a broker does not answer while a transaction holds offsets.
            .set("isolation.level", "read_uncommitted")
            .create()
            .expect("a consumer");
        let mut list = TopicPartitionList::new();
        for (topic, partition) in &self.places {
            list.add_partition(topic, *partition);
        }
        let mut before: BTreeMap<Place, i64> = BTreeMap::new();
        while !stop() {
            if let Ok(answer) = consumer.committed_offsets(list.clone(), ANSWER) {
                let now = Instant::now();
                let mut advances = self.advances.lock().unwrap_or_else(PoisonError::into_inner);
                for element in answer.elements() {
                    let Offset::Offset(offset) = element.offset() else { continue };
                    let place = (element.topic().to_owned(), element.partition());
                    if before.get(&place).is_none_or(|before| offset > *before) {
                        before.insert(place.clone(), offset);
                        advances.entry(place).or_default().push(now);
                    }
                }
            }
            std::thread::sleep(LOOK);
        }
    }

    /// The longest stall between two moments, over all places.
    pub fn longest_stall(&self, from: Instant, to: Instant) -> Option<Stall> {
        let advances = self.advances.lock().unwrap_or_else(PoisonError::into_inner);
        let stalls = self.places.iter().map(|place| {
            let moved = advances.get(place).map_or(&[][..], Vec::as_slice);
            let within = moved.iter().copied().filter(|at| (from..=to).contains(at));
            let mut longest = (Duration::ZERO, from);
            let mut last = from;
            for at in within.chain([to]) {
                longest = longest.max((at - last, last));
                last = at;
            }
            let (time, began) = (longest.0, longest.1 - from);
            Stall { place: place.clone(), time, began }
        });
        stalls.max_by_key(|stall| stall.time)
    }

    /// How long after a moment every place had moved on; `None` if one never did.
    pub fn recovery(&self, from: Instant) -> Option<Duration> {
        let advances = self.advances.lock().unwrap_or_else(PoisonError::into_inner);
        let first = |place: &Place| {
            let moved = advances.get(place)?;
            moved.iter().find(|at| **at > from).map(|at| *at - from)
        };
        let mut longest = Duration::ZERO;
        for place in &self.places {
            longest = longest.max(first(place)?);
        }
        Some(longest)
    }
}
