//! One producer for a whole test. A new one takes half a second until it may send, too long for
//! orders that are to keep coming while an instance dies.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use super::flow::{Sent, generated};
use super::market::{LIMIT, Market};

/// Sends orders to one exchange.
pub struct Sender {
    producer: ThreadedProducer<DefaultProducerContext>,
    topic: String,
}

impl Sender {
    /// To the orders topic of a market.
    pub fn to(market: &Market) -> Self {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", market.bootstrap())
            .set("partitioner", "murmur2_random")
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .create()
            .expect("a producer");
        Self { producer, topic: market.topic("orders") }
    }

    /// Sends orders and waits until the broker has them.
    pub fn send(&self, orders: &[Sent]) {
        for order in orders {
            let record = BaseRecord::to(&self.topic)
                .key(&order.key)
                .payload(&order.value)
                .timestamp(order.timestamp);
            // The flows of these tests are smaller than the producer's queue.
            let sent = self.producer.send(record);
            sent.unwrap_or_else(|(error, _)| panic!("sending to {}: {error}", self.topic));
        }
        self.producer.flush(LIMIT).expect("all orders delivered");
    }

    /// Sends orders in so many slices, spread over a time.
    pub fn spread(&self, orders: &[Sent], slices: usize, time: Duration) {
        for slice in orders.chunks(orders.len() / slices + 1) {
            self.send(slice);
            std::thread::sleep(time / slices as u32);
        }
    }
}

/// Orders a second of a [`Load`], about.
const RATE: usize = 2_000;

/// Orders that keep coming, each of the moment in which it is sent, until they are told to end.
#[derive(Default)]
pub struct Load(AtomicBool);

impl Load {
    /// Sends orders until told to end.
    pub fn send_to(&self, market: &Market) {
        let sender = Sender::to(market);
        let tick = Duration::from_millis(100);
        let flow = generated(400_000, 7);
        for orders in flow.chunks(RATE / 10) {
            if self.0.load(Ordering::Relaxed) {
                return;
            }
            sender.send(&at_present(orders, Duration::ZERO));
            std::thread::sleep(tick);
        }
    }

    /// Tells it to end when this is dropped.
    pub fn end_on_drop(&self) -> EndOnDrop<'_> {
        EndOnDrop(self)
    }
}

/// See [`Load::end_on_drop`].
pub struct EndOnDrop<'l>(&'l Load);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// The same orders, as if sent so long ago.
pub fn at_present(orders: &[Sent], ago: Duration) -> Vec<Sent> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    let timestamp = (now - ago).as_millis() as i64;
    orders.iter().map(|order| Sent { timestamp, ..order.clone() }).collect()
}
