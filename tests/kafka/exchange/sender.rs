//! One producer for a whole test. A new one takes half a second until it may send, too long for
//! orders that are to keep coming while an instance dies.

use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use super::flow::Sent;
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
