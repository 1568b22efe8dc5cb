//! `passthrough` as it is written today without a framework: rdkafka's consumer, serde_json and a
//! transactional producer, one commit every 100 ms. MODE=stream (StreamConsumer and FutureProducer,
//! the crate's own examples) or MODE=base (BaseConsumer and BaseProducer).
//!
//! What it leaves out is what a framework is for: no abort and retry, no handling of a rebalance
//! within a transaction, no state.

use std::env;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{
    BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance, StreamConsumer,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, FutureProducer, FutureRecord, Producer};
use rdkafka::util::Timeout;
use serde::{Deserialize, Serialize};

const COMMIT_EVERY: Duration = Duration::from_millis(100);

#[derive(Deserialize, Serialize)]
struct Order {
    order_id: String,
    investor_id: String,
    asset_id: String,
    current_shares: i64,
    shares: i64,
    #[serde(default)]
    price: f64,
    order_type: String,
    #[serde(default = "new_order")]
    action: String,
    #[serde(default = "limit")]
    kind: String,
    #[serde(default = "good_till_cancelled")]
    time_in_force: String,
    #[serde(skip_deserializing)]
    notional: f64,
}

fn new_order() -> String {
    "NEW".into()
}
fn limit() -> String {
    "LIMIT".into()
}
fn good_till_cancelled() -> String {
    "GTC".into()
}

fn process(message: &BorrowedMessage) -> Result<Option<Vec<u8>>> {
    let mut order: Order = serde_json::from_slice(message.payload().unwrap_or_default())?;
    if order.shares <= 0 {
        return Ok(None);
    }
    order.notional = order.price * order.shares as f64;
    Ok(Some(serde_json::to_vec(&order)?))
}

struct Assigned(Instant, AtomicBool);

impl ClientContext for Assigned {}
impl ConsumerContext for Assigned {
    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if matches!(rebalance, Rebalance::Assign(_)) && !self.1.swap(true, Ordering::Relaxed) {
            println!("RESTORED {}", self.0.elapsed().as_millis());
        }
    }
}

struct Settings {
    consumer: ClientConfig,
    producer: ClientConfig,
    orders: String,
    out: String,
    transactional: bool,
}

fn settings() -> Result<Settings> {
    let required = |name: &str| env::var(name).with_context(|| format!("{name} is not set"));
    let (bootstrap, app_id) = (required("BOOTSTRAP")?, required("APP_ID")?);
    let transactional = env::var("GUARANTEE").map_or(true, |g| g == "exactly_once_v2");
    let mut consumer = ClientConfig::new();
    consumer
        .set("bootstrap.servers", &bootstrap)
        .set("group.id", &app_id)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed");
    let mut producer = ClientConfig::new();
    producer
        .set("bootstrap.servers", &bootstrap)
        .set("partitioner", "murmur2_random")
        .set("compression.type", "lz4")
        .set("linger.ms", "10")
        .set("enable.idempotence", "true");
    if transactional {
        producer.set("transactional.id", &app_id);
    }
    if env::var("TUNED").is_ok() {
        consumer
            .set("fetch.wait.max.ms", "10")
            .set("fetch.queue.backoff.ms", "1");
        producer
            .set("batch.size", "1000000")
            .set("queue.buffering.max.messages", "1000000");
    }
    Ok(Settings {
        consumer,
        producer,
        orders: env::var("ORDERS_TOPIC").unwrap_or("orders".into()),
        out: env::var("OUT_TOPIC").unwrap_or("out".into()),
        transactional,
    })
}

#[tokio::main]
async fn main() -> Result<()> {
    let context = Assigned(Instant::now(), AtomicBool::new(false));
    let settings = settings()?;
    if env::var("MODE").is_ok_and(|mode| mode == "base") {
        let worker = tokio::task::spawn_blocking(move || base(&settings, context));
        tokio::select! {
            end = worker => end??,
            _ = terminated() => std::process::exit(0),
        }
    } else {
        stream(&settings, context).await?;
    }
    Ok(())
}

async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    signal(SignalKind::terminate())
        .expect("a signal handler")
        .recv()
        .await;
}

async fn stream(settings: &Settings, context: Assigned) -> Result<()> {
    let consumer: StreamConsumer<Assigned> = settings.consumer.create_with_context(context)?;
    let producer: FutureProducer = settings.producer.create()?;
    if settings.transactional {
        producer.init_transactions(Timeout::Never)?;
    }
    consumer.subscribe(&[&settings.orders])?;
    let mut tick = tokio::time::interval(COMMIT_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut end = std::pin::pin!(terminated());
    let mut open = false;
    loop {
        tokio::select! {
            biased;
            _ = &mut end => return Ok(()),
            _ = tick.tick() => {
                if open {
                    commit(&consumer, &producer, settings.transactional)?;
                    open = false;
                }
            }
            message = consumer.recv() => {
                let message = message?;
                if !open && settings.transactional {
                    producer.begin_transaction()?;
                }
                open = true;
                let Some(value) = process(&message)? else { continue };
                let mut record = FutureRecord::to(&settings.out).payload(&value);
                record.key = message.key();
                record.timestamp = message.timestamp().to_millis();
                record.headers = message.headers().map(|headers| headers.detach());
                loop {
                    match producer.send_result(record) {
                        Ok(_) => break,
                        Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                            record = back;
                            tokio::time::sleep(Duration::from_millis(1)).await;
                        }
                        Err((error, _)) => return Err(error.into()),
                    }
                }
            }
        }
    }
}

fn base(settings: &Settings, context: Assigned) -> Result<()> {
    let consumer: BaseConsumer<Assigned> = settings.consumer.create_with_context(context)?;
    let producer: BaseProducer = settings.producer.create()?;
    if settings.transactional {
        producer.init_transactions(Timeout::Never)?;
    }
    consumer.subscribe(&[&settings.orders])?;
    let mut open = false;
    let mut committed = Instant::now();
    loop {
        if let Some(message) = consumer.poll(Duration::from_millis(10)) {
            let message = message?;
            if !open && settings.transactional {
                producer.begin_transaction()?;
            }
            open = true;
            if let Some(value) = process(&message)? {
                let mut record = BaseRecord::<[u8], [u8]>::to(&settings.out).payload(&value);
                record.key = message.key();
                record.timestamp = message.timestamp().to_millis();
                record.headers = message.headers().map(|headers| headers.detach());
                while let Err((error, back)) = producer.send(record) {
                    anyhow::ensure!(
                        error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull),
                        error
                    );
                    producer.poll(Duration::from_millis(1));
                    record = back;
                }
            }
        }
        if open && committed.elapsed() >= COMMIT_EVERY {
            commit(&consumer, &producer, settings.transactional)?;
            open = false;
            committed = Instant::now();
        }
    }
}

fn commit<C, P>(consumer: &impl Consumer<Assigned>, producer: &P, transactional: bool) -> Result<()>
where
    C: rdkafka::producer::ProducerContext<rdkafka::producer::NoCustomPartitioner>,
    P: Producer<C>,
{
    let offsets = consumer.position()?;
    if transactional {
        let group = consumer.group_metadata().context("not in a group")?;
        producer.send_offsets_to_transaction(&offsets, &group, Timeout::Never)?;
        producer.commit_transaction(Timeout::Never)?;
    } else {
        producer.flush(Timeout::Never)?;
        consumer.commit(&offsets, CommitMode::Sync)?;
    }
    Ok(())
}
