//! [`OrderSender`]: writes orders to their topic, and says when the brokers have them.

use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidemill::exchange::Order;
use tidemill::kafka::{
    Cluster, KafkaError, Outgoing, ProduceError, Producer, ProducerSettings, TopicId,
};
use tidemill_topology::prelude::{Headers, Timestamp};

use super::failure::Failure;

/// Batches that may wait while others are being delivered.
const WAITING: usize = 64;
/// Pause before a record is offered again to a full queue.
const PAUSE: Duration = Duration::from_millis(5);

/// Why orders were not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Too many wait already: none of these was taken.
    #[error("{WAITING} requests wait for the brokers already")]
    Busy,
    /// One cannot be sent; none of those behind it was.
    #[error("order {index} cannot be sent: {reason}")]
    Refused {
        /// Its place in the batch, from 0.
        index: usize,
        /// Why.
        reason: String,
    },
    /// The brokers did not answer in time, or said no: the outcome is not known.
    #[error("the brokers did not acknowledge the orders: {0}")]
    Undelivered(String),
}

/// Orders that are sent and acknowledged together.
struct Batch {
    orders: Vec<Order>,
    /// Until when an answer is of use.
    deadline: Instant,
    answer: Sender<Result<(), SendError>>,
}

/// Sends orders from a thread of its own, with a producer that is idempotent and waits for all
/// replicas. What has come in while the brokers answered is sent next, together: a round trip
/// serves any number of clients.
///
/// Orders of an asset keep their order: the asset is the record's key.
pub struct OrderSender {
    /// Taken away to end the thread.
    batches: Mutex<Option<SyncSender<Batch>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    within: Duration,
}

impl OrderSender {
    /// Sends to `topic`; orders are given up when they are not acknowledged `within` that time.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub fn start(cluster: impl Cluster, topic: &str, within: Duration) -> Result<Self, Failure> {
        let (batches, waiting) = sync_channel(WAITING);
        let topic = topic.to_owned();
        let thread = std::thread::Builder::new()
            .name("order-entry".to_owned())
            .spawn(move || serve(&cluster, &topic, &waiting))
            .map_err(Failure::io("start a thread"))?;
        Ok(Self { batches: Mutex::new(Some(batches)), thread: Mutex::new(Some(thread)), within })
    }

    /// Sends orders, and waits until all of them are acknowledged.
    ///
    /// # Errors
    /// Those of [`SendError`].
    pub fn send(&self, orders: Vec<Order>) -> Result<(), SendError> {
        let (answer, answered) = channel();
        let batch = Batch { orders, deadline: Instant::now() + self.within, answer };
        let ended = || SendError::Undelivered("the instance is stopping".to_owned());
        {
            let batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
            let sent = batches.as_ref().ok_or_else(ended)?.try_send(batch);
            sent.map_err(|error| match error {
                TrySendError::Full(_) => SendError::Busy,
                TrySendError::Disconnected(_) => ended(),
            })?;
        }
        answered.recv().unwrap_or_else(|_| Err(ended()))
    }

    /// Ends the thread, once what waits is answered.
    pub fn stop(&self) {
        drop(self.batches.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that sends orders panicked");
        }
    }
}

/// A producer and its topic.
struct Link<P> {
    producer: P,
    topic: TopicId,
}

fn connect<C: Cluster>(cluster: &C, topic: &str) -> Result<Link<C::Producer>, KafkaError> {
    let mut producer = cluster.producer(&ProducerSettings {
        client_id: "tidemill-order-entry".into(),
        transactional_id: None,
        track_offsets: false,
    })?;
    let topic = producer.topic(topic)?;
    Ok(Link { producer, topic })
}

/// The thread: takes what waits, delivers it, answers.
fn serve<C: Cluster>(cluster: &C, topic: &str, waiting: &Receiver<Batch>) {
    let mut link = None;
    while let Ok(first) = waiting.recv() {
        let batches: Vec<Batch> = std::iter::once(first).chain(waiting.try_iter()).collect();
        let connected = match link.take() {
            Some(link) => Ok(link),
            None => connect(cluster, topic),
        };
        match connected {
            Ok(mut open) => {
                if deliver(&mut open, &batches) {
                    link = Some(open);
                }
            }
            Err(error) => answer(&batches, &Err(SendError::Undelivered(error.to_string()))),
        }
    }
}

fn answer(batches: &[Batch], result: &Result<(), SendError>) {
    for batch in batches {
        // Whoever asked may have given up.
        let _ = batch.answer.send(result.clone());
    }
}

/// Sends batches and answers each. Says whether the producer can go on: one that still holds
/// records nobody waits for is closed, or they would go out at any time later.
fn deliver<P: Producer>(link: &mut Link<P>, batches: &[Batch]) -> bool {
    let mut sent = Vec::new();
    for batch in batches {
        match produce(link, batch) {
            Ok(()) => sent.push(batch),
            // Whoever asked may have given up.
            Err(error) => drop(batch.answer.send(Err(error))),
        }
    }
    let failed_before = link.producer.deliveries().failed();
    // The first deadline bounds the wait for all; those that came with it are as old.
    let deadline = batches.iter().map(|batch| batch.deadline).min();
    let time = deadline.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
    let flushed = link.producer.flush(time);
    let first = link.producer.deliveries().take_error();
    let failed = link.producer.deliveries().failed() > failed_before;
    let outcome = match (flushed, first) {
        (Ok(()), None) if !failed => Ok(()),
        (_, Some((_, error))) | (Err(error), None) => {
            Err(SendError::Undelivered(error.to_string()))
        }
        (Ok(()), None) => Err(SendError::Undelivered("a record was lost".to_owned())),
    };
    let usable = outcome.is_ok() && link.producer.fatal_error().is_none();
    for batch in sent {
        let _ = batch.answer.send(outcome.clone());
    }
    usable
}

/// Hands a batch to the producer.
fn produce<P: Producer>(link: &mut Link<P>, batch: &Batch) -> Result<(), SendError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let timestamp = Timestamp::new(i64::try_from(now.as_millis()).unwrap_or(i64::MAX));
    let mut value = Vec::new();
    for (index, order) in batch.orders.iter().enumerate() {
        value.clear();
        order.write_json(&mut value);
        let record = Outgoing {
            topic: link.topic,
            partition: None,
            key: Some(order.asset_id.as_bytes()),
            value: Some(&value),
            timestamp,
            headers: Headers::none(),
        };
        loop {
            match link.producer.produce(&record) {
                Ok(()) => break,
                Err(ProduceError::QueueFull) if Instant::now() < batch.deadline => {
                    link.producer.poll(PAUSE);
                }
                Err(ProduceError::QueueFull) => return Err(SendError::Busy),
                Err(ProduceError::Refused(error)) => {
                    return Err(SendError::Refused { index, reason: error.to_string() });
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidemill::kafka::{Librdkafka, MockCluster};

    use super::*;

    fn orders() -> Vec<Order> {
        let json = br#"{"order_id":"1","investor_id":"Mari","asset_id":"a","current_shares":10,"shares":5,"price":5.0,"order_type":"SELL"}"#;
        vec![Order::from_json(json).unwrap(); 3]
    }

    fn sender(bootstrap: &str, within: Duration) -> OrderSender {
        let properties = [("bootstrap.servers".to_owned(), bootstrap.to_owned())];
        let cluster = Librdkafka::new(properties.into()).unwrap();
        OrderSender::start(cluster, "orders", within).unwrap()
    }

    #[test]
    fn orders_are_acknowledged_by_the_brokers_and_a_stopped_sender_takes_none() {
        let broker = MockCluster::start(1).unwrap();
        broker.create_topic("orders", 2).unwrap();
        let sender = sender(broker.bootstrap(), Duration::from_secs(20));
        assert_eq!(sender.send(orders()), Ok(()));
        assert_eq!(sender.send(orders()), Ok(()));
        sender.stop();
        assert!(matches!(sender.send(orders()), Err(SendError::Undelivered(_))));
    }

    #[test]
    fn without_a_broker_the_sender_says_that_nothing_is_acknowledged() {
        // Port 1 is nobody's.
        let sender = sender("127.0.0.1:1", Duration::from_millis(100));
        assert!(matches!(sender.send(orders()), Err(SendError::Undelivered(_))));
        sender.stop();
    }

    #[test]
    fn what_exceeds_the_queue_is_refused_at_once() {
        let sender = Arc::new(sender("127.0.0.1:1", Duration::from_secs(2)));
        let clients = std::iter::repeat_with(|| {
            let sender = Arc::clone(&sender);
            std::thread::spawn(move || sender.send(orders()))
        });
        let clients: Vec<_> = clients.take(3 * WAITING).collect();
        let results: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        assert!(results.contains(&Err(SendError::Busy)), "{results:?}");
        let undelivered =
            |result: &&Result<(), SendError>| matches!(result, Err(SendError::Undelivered(_)));
        assert!(results.iter().filter(undelivered).count() >= WAITING, "{results:?}");
        sender.stop();
    }
}
