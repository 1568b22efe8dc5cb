//! `GET /trades`: the exchange's trades as server-sent events, from a given offset on.
//!
//! Each client has a consumer of its own, which reads committed trades only as fast as the client
//! takes them: nobody is cut off for being slow, and nothing is kept for those who are. The id of
//! an event is the position behind it in every partition, `0:17,1:4`: a client that comes back
//! with it as `Last-Event-ID` misses nothing and sees nothing twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;
use tidemill::http::event_stream::heartbeat;
use tidemill::http::{Call, Event, EventSink, Failure, Response, Route};
use tidemill::kafka::{
    Admin, Cluster, Consumer, ConsumerRole, ConsumerSettings, Event as KafkaEvent, Isolation,
    KafkaError, Message, Offset, OffsetSpec, StartAt, TopicPartition,
};

/// Clients served at once: each costs a consumer and a thread.
const MOST_READERS: usize = 32;
/// Events that may wait for a client.
const AHEAD: usize = 256;
/// How long a reader waits for trades before it looks whether its client is still there.
const LOOK: Duration = Duration::from_millis(200);
/// After so long without an event a client hears that the connection lives.
const QUIET: Duration = Duration::from_secs(10);
/// How long the brokers may take to say where the topic begins and ends.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Trades taken at a time.
const BATCH: usize = 200;

/// Reads trades for clients of HTTP.
pub struct TradeFeed<C> {
    cluster: C,
    topic: Arc<str>,
    readers: Arc<AtomicUsize>,
    stopped: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Where to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Begin {
    Earliest,
    Latest,
    /// The same offset in every partition.
    Offset(i64),
    /// Offsets by partition; partitions that are not named begin at their start, for they were
    /// added since.
    Positions(BTreeMap<i32, i64>),
}

/// The next offset of each partition.
type Positions = BTreeMap<i32, i64>;

impl Begin {
    fn parse(text: &str) -> Result<Self, Failure> {
        let pair = |pair: &str| {
            let (partition, offset) = pair.split_once(':')?;
            Some((partition.parse::<i32>().ok()?, offset.parse::<i64>().ok()?))
        };
        let offset = || text.parse().ok().filter(|offset| *offset >= 0).map(Self::Offset);
        let positions = || text.split(',').map(pair).collect::<Option<_>>().map(Self::Positions);
        match text {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            _ => offset().or_else(positions).ok_or_else(|| {
                Failure::bad_request(format!(
                    "`from` is {text:?}: expected earliest, latest, an offset, or offsets by \
                     partition such as 0:17,1:4"
                ))
            }),
        }
    }

    /// The offset wanted in a partition whose log reaches from `first` to `end`.
    fn of(&self, partition: i32, first: i64, end: i64) -> i64 {
        match self {
            Self::Earliest => first,
            Self::Latest => end,
            Self::Offset(offset) => *offset,
            Self::Positions(positions) => positions.get(&partition).copied().unwrap_or(first),
        }
    }
}

fn shown(positions: &Positions) -> String {
    let pairs: Vec<_> =
        positions.iter().map(|(partition, offset)| format!("{partition}:{offset}")).collect();
    pairs.join(",")
}

impl<C: Cluster> TradeFeed<C> {
    /// Reads from `topic`.
    pub fn new(cluster: C, topic: &str) -> Arc<Self> {
        Arc::new(Self {
            cluster,
            topic: topic.into(),
            readers: Arc::default(),
            stopped: Arc::default(),
            threads: Mutex::default(),
        })
    }

    /// The route: `?from=` says where to begin, unless a client comes back with the id of the last
    /// event that it has seen; `?asset=` leaves out the trades of other assets.
    pub fn route(self: &Arc<Self>) -> Route {
        let feed = Arc::clone(self);
        Route::get("trades", move |call| feed.open(call))
    }

    /// Ends every reader and waits for it. Their clients are gone with the server.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread that reads trades panicked");
            }
        }
    }

    fn open(&self, call: &Call<'_>) -> Result<Response, Failure> {
        let from = call.request.last_event_id().or_else(|| call.request.parameter("from"));
        let from = Begin::parse(from.unwrap_or("latest"))?;
        let asset = call.request.parameter("asset").map(str::to_owned);
        let place = Place::take(&self.readers).ok_or_else(|| {
            Failure::unavailable(format!("{MOST_READERS} clients read trades already"))
        })?;
        let unavailable = |error: KafkaError| Failure::unavailable(error.to_string());
        let (consumer, positions, moved) = self.start(&from).map_err(unavailable)?;
        let (sink, answer) = EventSink::open(AHEAD);
        let reader = Reader {
            consumer,
            topic: Arc::clone(&self.topic),
            positions,
            asset,
            sink,
            stopped: Arc::clone(&self.stopped),
            _place: place,
        };
        let thread = std::thread::Builder::new()
            .name("trade-feed".to_owned())
            .spawn(move || reader.run(&moved))
            .map_err(|error| Failure::unavailable(format!("no thread for a reader: {error}")))?;
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
        Ok(answer)
    }

    /// A consumer at the wanted positions, and the partitions where there is nothing there: with
    /// the offset that was asked for.
    fn start(&self, from: &Begin) -> Result<(C::Consumer, Positions, Positions), KafkaError> {
        let topic: &str = &self.topic;
        let described = self.cluster.admin()?.describe_topics(&[topic], ANSWER_WITHIN)?;
        let count = described.iter().flatten().map(|info| info.partitions.len()).sum();
        let partitions: Vec<TopicPartition> = (0..)
            .take(count)
            .map(|number| TopicPartition::new(Arc::clone(&self.topic), number))
            .collect();
        let mut consumer = self.cluster.consumer(&ConsumerSettings {
            group_id: "tidemill-trade-feed".into(),
            client_id: "tidemill-trade-feed".into(),
            role: ConsumerRole::Assigned,
            isolation: Isolation::ReadCommitted,
        })?;
        let offsets = |spec| {
            let isolation = Isolation::ReadCommitted;
            consumer.list_offsets(&partitions, spec, isolation, ANSWER_WITHIN)
        };
        let (first, end) = (offsets(OffsetSpec::Earliest)?, offsets(OffsetSpec::Latest)?);
        let (mut positions, mut moved, mut starts) = (Positions::new(), Positions::new(), vec![]);
        for ((partition, first), end) in partitions.iter().zip(first).zip(end) {
            let number = partition.partition;
            let known = |offset: Option<Offset>| offset.map_or(0, |offset| offset.0);
            let (first, end) = (known(first.offset), known(end.offset));
            let wanted = from.of(number, first, end);
            // Deleted meanwhile, or the topic is another one of the same name.
            let start = if (first..=end).contains(&wanted) { wanted } else { first };
            if start != wanted {
                moved.insert(number, wanted);
            }
            positions.insert(number, start);
            starts.push(StartAt::offset(partition.clone(), Offset(start)));
        }
        consumer.assign(&starts)?;
        Ok((consumer, positions, moved))
    }
}

/// A place among the readers; given back when dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(readers: &Arc<AtomicUsize>) -> Option<Self> {
        let more = |taken| (taken < MOST_READERS).then_some(taken + 1);
        readers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Self(Arc::clone(readers)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One client's consumer, on a thread of its own.
struct Reader<K> {
    consumer: K,
    topic: Arc<str>,
    positions: Positions,
    /// The only asset that the client wants to hear of.
    asset: Option<String>,
    sink: EventSink,
    stopped: Arc<AtomicBool>,
    _place: Place,
}

impl<K: Consumer> Reader<K> {
    /// Sends trades until the client is gone. `moved` are partitions that could not begin where
    /// the client asked.
    fn run(mut self, moved: &Positions) {
        let mut open = moved.iter().all(|(partition, asked)| self.say_moved(*partition, *asked));
        let (mut received, mut events) = (Vec::new(), Vec::new());
        let mut last = Instant::now();
        while open && !self.sink.is_closed() && !self.stopped.load(Ordering::Relaxed) {
            self.consumer.poll(BATCH, LOOK, &mut received, &mut events);
            for record in received.drain(..) {
                let message = record.message;
                self.positions.insert(message.partition(), message.offset().next().0);
                let wanted = self
                    .asset
                    .as_ref()
                    .is_none_or(|asset| message.key().is_some_and(|key| key == asset.as_bytes()));
                let value = message.value().and_then(|value| std::str::from_utf8(value).ok());
                if let (true, Some(value)) = (wanted, value) {
                    open = open && self.say("", value);
                    last = Instant::now();
                }
            }
            for event in events.drain(..) {
                open = open && self.take_note(&event);
            }
            if last.elapsed() >= QUIET {
                // Without data: it moves the client's position on and says that all is well.
                open = open && self.say("", "") && self.sink.send(heartbeat()).is_ok();
                last = Instant::now();
            }
        }
    }

    /// Sends an event. Says whether the client is still there.
    fn say(&self, name: &str, data: &str) -> bool {
        let event = Event { id: &shown(&self.positions), name, data };
        self.sink.send(event.to_bytes()).is_ok()
    }

    fn say_moved(&self, partition: i32, asked: i64) -> bool {
        let from = self.positions.get(&partition);
        let data = json!({ "partition": partition, "asked": asked, "from": from });
        self.say("moved", &data.to_string())
    }

    /// What Kafka has to say besides records. Says whether to go on.
    fn take_note(&mut self, event: &KafkaEvent) -> bool {
        match event {
            // The client comes back and begins where there is something.
            KafkaEvent::OutOfRange { partition, error }
            | KafkaEvent::Truncated { partition, error } => {
                tracing::info!(%partition, %error, "a reader of trades must begin anew");
                false
            }
            KafkaEvent::EndOfPartition { partition, offset } if partition.topic == self.topic => {
                // Past the control records of transactions, too; but further records may have come
                // with this event.
                let position = self.positions.entry(partition.partition).or_default();
                *position = (*position).max(offset.0);
                true
            }
            KafkaEvent::Error { error, .. } if error.class().is_fatal() => {
                tracing::warn!(%error, "a reader of trades ended");
                false
            }
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_an_end_an_offset_or_a_position() {
        assert_eq!(Begin::parse("earliest").ok(), Some(Begin::Earliest));
        assert_eq!(Begin::parse("latest").ok(), Some(Begin::Latest));
        assert_eq!(Begin::parse("17").ok(), Some(Begin::Offset(17)));
        let positions = Begin::parse("0:17,3:4").unwrap();
        assert_eq!(positions, Begin::Positions([(0, 17), (3, 4)].into()));
        for text in ["", "-1", "soon", "1:", "1:2,", "1:2:3"] {
            assert!(Begin::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_position_is_read_as_it_is_shown() {
        let positions = Positions::from([(0, 17), (1, 0), (12, 4)]);
        assert_eq!(Begin::parse(&shown(&positions)).ok(), Some(Begin::Positions(positions)));
    }

    #[test]
    fn a_partition_that_is_not_named_begins_at_its_start() {
        let from = Begin::parse("0:17").unwrap();
        assert_eq!((from.of(0, 3, 20), from.of(1, 3, 20)), (17, 3));
        assert_eq!(Begin::Latest.of(1, 3, 20), 20);
    }

    #[test]
    fn readers_beyond_the_bound_are_refused_until_one_leaves() {
        let readers = Arc::default();
        let mut places: Vec<_> = (0..MOST_READERS).map_while(|_| Place::take(&readers)).collect();
        assert_eq!(places.len(), MOST_READERS);
        assert!(Place::take(&readers).is_none());
        places.pop();
        assert!(Place::take(&readers).is_some());
    }
}
