//! The load: orders for the exchange, views and clicks for the pairs, at a steady rate, whatever
//! happens to the brokers meanwhile.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use serde_json::json;

/// Enough that each of the partitions has some.
const ASSETS: u32 = 96;
const ADS: u32 = 240;
const INVESTORS: u32 = 50;
const VISITORS: u32 = 1_000;
/// Orders that may still be cancelled. Once there are so many, one is before another is placed:
/// otherwise those that nobody trades with would rest for ever, and the books grow without end.
const OPEN: usize = 2_000;
/// How often records are sent.
const TICK: Duration = Duration::from_millis(20);
const LIMIT: Duration = Duration::from_secs(120);

/// A record that was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub key: String,
    pub value: String,
    /// Event time, in milliseconds since the epoch.
    pub timestamp: i64,
}

/// Everything that was sent, in its order.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    pub orders: Vec<Sent>,
    pub views: Vec<Sent>,
    pub clicks: Vec<Sent>,
}

/// The names of the input topics.
pub struct InputTopics {
    pub orders: String,
    pub views: String,
    pub clicks: String,
}

/// Records a second.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    pub orders: u32,
    /// Of the views, and of the clicks as well.
    pub views: u32,
}

/// Makes the records and sends them.
pub struct Load {
    producer: ThreadedProducer<DefaultProducerContext>,
    topics: InputTopics,
    rates: Rates,
    /// Where event time begins: now. A broker deletes the changelog of a windowed store by the age
    /// of its records, which is that of their events.
    begin_ms: i64,
    random: StdRng,
    open: Vec<(u32, String, String)>,
    sent: Inputs,
}

impl Load {
    /// A load that has sent nothing yet. The same seed makes the same records, but for their times.
    pub fn new(bootstrap: &str, topics: InputTopics, rates: Rates, seed: u64) -> Self {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("partitioner", "murmur2_random")
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            // A broker that is away is waited for.
            .set("message.timeout.ms", "0")
            .create()
            .expect("a producer");
        let random = StdRng::seed_from_u64(seed);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let begin_ms = since.as_millis() as i64;
        let (open, sent) = (Vec::new(), Inputs::default());
        Self { producer, topics, rates, begin_ms, random, open, sent }
    }

    /// Sends at the steady rate until `stop` says so, then waits until the brokers have it all.
    pub fn run(mut self, stop: impl Fn() -> bool) -> Inputs {
        let started = Instant::now();
        while !stop() {
            let elapsed = started.elapsed().as_secs_f64();
            let due = |rate: u32| (elapsed * f64::from(rate)) as usize;
            while self.sent.orders.len() < due(self.rates.orders) {
                let order = self.order();
                self.send(&self.topics.orders, &order);
                self.sent.orders.push(order);
            }
            while self.sent.views.len() < due(self.rates.views) {
                let (view, click) = (self.view(), self.click());
                self.send(&self.topics.views, &view);
                self.send(&self.topics.clicks, &click);
                self.sent.views.push(view);
                self.sent.clicks.push(click);
            }
            std::thread::sleep(TICK);
        }
        self.producer.flush(LIMIT).expect("all records delivered");
        self.sent
    }

    fn send(&self, topic: &str, sent: &Sent) {
        let mut record =
            BaseRecord::to(topic).key(&sent.key).payload(&sent.value).timestamp(sent.timestamp);
        while let Err((error, unsent)) = self.producer.send(record) {
            let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            assert!(error == full, "sending to {topic}: {error}");
            std::thread::sleep(TICK);
            record = unsent;
        }
    }

    fn event_time(&self, number: usize, rate: u32) -> i64 {
        self.begin_ms + number as i64 * 1_000 / i64::from(rate.max(1))
    }

    /// An order that rests, trades or cancels an earlier one. Times only grow, as an exchange's do:
    /// no trade is late for its candle.
    fn order(&mut self) -> Sent {
        let number = self.sent.orders.len();
        let cancels =
            self.open.len() == OPEN || !self.open.is_empty() && self.random.random_bool(0.2);
        let (asset, value) = if cancels {
            let earlier = self.random.random_range(0..self.open.len());
            let (asset, order, investor) = self.open.swap_remove(earlier);
            let asset_id = asset_name(asset);
            let cancel = json!({"order_id": order, "investor_id": investor, "asset_id": asset_id, "action": "CANCEL"});
            (asset, cancel)
        } else {
            let asset = self.random.random_range(0..ASSETS);
            let (order, investor) =
                (format!("o{number}"), format!("i{}", self.random.random_range(0..INVESTORS)));
            let sells = self.random.random_bool(0.5);
            let place = json!({
                "order_id": order, "investor_id": investor, "asset_id": asset_name(asset),
                "current_shares": 1_000, "shares": self.random.random_range(1..=100),
                "order_type": if sells { "SELL" } else { "BUY" },
                "price": f64::from(self.random.random_range(9_980..=10_020)) / 100.0,
            });
            self.open.push((asset, order, investor));
            (asset, place)
        };
        let timestamp = self.event_time(number, self.rates.orders);
        Sent { key: asset_name(asset), value: value.to_string(), timestamp }
    }

    /// A visitor saw an ad: keyed by the visitor.
    fn view(&mut self) -> Sent {
        let number = self.sent.views.len();
        let ad = self.random.random_range(0..ADS);
        let visitor = self.random.random_range(0..VISITORS);
        let timestamp = self.event_time(number, self.rates.views);
        Sent { key: format!("visitor{visitor}"), value: format!("ad{ad} v{number}"), timestamp }
    }

    /// Somebody clicked on an ad: keyed by the ad.
    fn click(&mut self) -> Sent {
        let number = self.sent.clicks.len();
        let ad = self.random.random_range(0..ADS);
        let timestamp = self.event_time(number, self.rates.views);
        Sent { key: format!("ad{ad}"), value: format!("c{number}"), timestamp }
    }
}

fn asset_name(asset: u32) -> String {
    format!("asset{asset}")
}
