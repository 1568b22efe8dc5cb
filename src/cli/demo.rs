//! `tidemill demo`: broker, generated orders and the exchange in one process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tidemill::config::Config;
use tidemill::exchange::{MetricsSlot, exchange_topology};
use tidemill::kafka::{
    Cluster, KafkaError, Librdkafka, MockCluster, Outgoing, ProduceError, Producer,
    ProducerSettings, TopicId,
};
use tidemill::metrics::ExchangeMetrics;
use tidemill::runtime::streams::properties;
use tidemill_topology::graph::Topology;
use tidemill_topology::prelude::{Headers, Timestamp};
use tokio::runtime::Handle;

use super::args::DemoArgs;
use super::demo_cluster::DemoCluster;
use super::failure::Failure;
use super::instance::Instance;
use super::logging;
use super::order_flow::OrderFlow;
use super::output;
use super::progress::Progress;
use super::scratch_folder::ScratchFolder;
use super::services;
use super::signals::Shutdown;
use super::sources::Sources;

/// Partitions of every topic.
const PARTITIONS: i32 = 4;
/// How often counters are shown, and orders sent.
const TICK: Duration = Duration::from_millis(200);
/// How long the broker may take to acknowledge what was sent.
const DELIVER_WITHIN: Duration = Duration::from_secs(10);

const WELCOME: &str = "\
The demo runs the whole exchange against a broker inside this process: nothing to set up, and
nothing kept. That broker's transactions are for show, so the demo proves nothing about recovery;
`tidemill run` on a Kafka cluster does what is promised.
";

/// Runs the demo until --seconds are over or a signal comes.
///
/// # Errors
/// A configuration that cannot be used, an error of the runtime, or no trade at all.
pub fn demo(sources: &Sources, args: &DemoArgs) -> Result<(), Failure> {
    let state = ScratchFolder::new("demo")?;
    let presets = [
        ("application.id", "tidemill-demo"),
        ("instance.id", "demo"),
        // The command replaces it by the address of its own broker.
        ("bootstrap.servers", "in-process"),
        ("state.dir", &*state.path().to_string_lossy()),
        ("log.level", "warn"),
    ];
    let mut config = sources.with_presets("demo", &presets).config()?;
    logging::start(&config.log)?;
    let runtime = services::start()?;
    let shutdown = Shutdown::on_signals(runtime.handle())?;
    let broker = start_broker(&config).map_err(Failure::failed)?;
    config.kafka.bootstrap_servers = broker.bootstrap().to_owned();
    run_demo(&config, args, runtime.handle(), shutdown)
}

/// Starts a broker with all topics: it answers no request to create one later.
fn start_broker(config: &Config) -> Result<MockCluster, KafkaError> {
    let broker = MockCluster::start(1)?;
    broker.set_group_delay_ms(100);
    // A topology that cannot be built is reported where the instance starts.
    let topology = exchange_topology(&config.exchange, &MetricsSlot::default()).ok();
    let internal = topology.iter().flat_map(|topology| internal_topics(topology, config));
    let topics = &config.exchange.topics;
    let own = [
        &topics.orders,
        &topics.assets,
        &topics.trades,
        &topics.order_updates,
        &topics.candles,
        &topics.positions,
        &topics.orders_dlq,
    ];
    for topic in own.into_iter().cloned().chain(internal) {
        broker.create_topic(&topic, PARTITIONS)?;
    }
    // Where instances tell of each other: one partition, however many the others have.
    broker.create_topic(&format!("{}-members", config.application_id), 1)?;
    Ok(broker)
}

fn internal_topics(topology: &Topology, config: &Config) -> Vec<String> {
    let subtopologies = topology.subtopologies().iter();
    subtopologies
        .flat_map(|subtopology| topology.internal_topics(subtopology))
        .map(|topic| format!("{}-{}", config.application_id, topic.name))
        .collect()
}

/// Sends orders, runs the exchange on them and sums up.
fn run_demo(
    config: &Config,
    args: &DemoArgs,
    runtime: &Handle,
    mut shutdown: Shutdown,
) -> Result<(), Failure> {
    let cluster = DemoCluster::new(properties(config)).map_err(Failure::failed)?;
    let instance = Instance::start(cluster, config, runtime)?;
    if !args.json {
        output::write(WELCOME)?;
        if let Some(address) = instance.address() {
            output::write(&format!(
                "Watch it at http://{address}/  Metrics: http://{address}/metrics  \
                 Orders: POST http://{address}/orders\n"
            ))?;
        }
    }
    let metrics = Arc::clone(instance.metrics());
    let sender = Sender::start(config, args)?;
    let started = Instant::now();
    let time = args.seconds.map_or(Duration::MAX, Duration::from_secs);
    let show = async {
        let progress = match args.seconds {
            Some(seconds) => Progress::towards("demo", seconds),
            None => Progress::open_ended("demo"),
        };
        while started.elapsed() < time {
            let tick = TICK.min(time.saturating_sub(started.elapsed()));
            if tokio::time::timeout(tick, shutdown.wait()).await.is_ok() {
                break;
            }
            progress.set(started.elapsed().as_secs());
            progress.say(counters(sender.sent(), &metrics));
        }
    };
    let ran = instance.run_until(show, runtime);
    let sent = sender.stop();
    ran?;
    let sent = sent?;
    let seconds = started.elapsed().as_secs_f64();
    if args.json {
        output::json(&summary_json(sent, seconds, &metrics))?;
    } else {
        output::write(&summary(sent, seconds, &metrics))?;
    }
    if metrics.trades() == 0 {
        return Err(Failure::Failed(format!(
            "no trade was made of {sent} orders; run it longer (--seconds), and if that does not \
             help look at the log (--set log.level=info)"
        )));
    }
    Ok(())
}

/// The live counters, in a line.
fn counters(sent: u64, metrics: &ExchangeMetrics) -> String {
    let (trades, resting) = (metrics.trades(), metrics.resting());
    format!("{sent} orders sent, {trades} trades, {resting} orders resting")
}

fn summary(sent: u64, seconds: f64, metrics: &ExchangeMetrics) -> String {
    let (trades, outcomes) = (metrics.trades(), metrics.outcomes());
    let handled: u64 = outcomes.values().sum();
    let by_outcome: Vec<String> =
        outcomes.iter().map(|(outcome, count)| format!("{outcome} {count}")).collect();
    format!(
        "In {seconds:.1} s: {sent} orders sent, {handled} carried out or refused, {trades} trades.\n\
         Orders by outcome: {}.\n",
        by_outcome.join(", ")
    )
}

fn summary_json(sent: u64, seconds: f64, metrics: &ExchangeMetrics) -> serde_json::Value {
    serde_json::json!({
        "seconds": seconds,
        "orders_sent": sent,
        "orders_by_outcome": metrics.outcomes(),
        "trades": metrics.trades(),
    })
}

/// Sends generated orders from a thread of its own.
struct Sender {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: JoinHandle<Result<(), KafkaError>>,
}

impl Sender {
    fn start(config: &Config, args: &DemoArgs) -> Result<Self, Failure> {
        let servers = config.kafka.bootstrap_servers.clone();
        let properties = [("bootstrap.servers".to_owned(), servers)];
        let producer = Librdkafka::new(properties.into())
            .and_then(|cluster| {
                cluster.producer(&ProducerSettings {
                    client_id: "tidemill-demo-orders".into(),
                    transactional_id: None,
                    track_offsets: false,
                })
            })
            .map_err(Failure::failed)?;
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let feed = Feed {
            producer,
            flow: OrderFlow::new(args.assets, args.seed),
            rate: args.rate,
            sent: Arc::clone(&sent),
            value: Vec::new(),
        };
        let topics = &config.exchange.topics;
        let (orders, assets) = (topics.orders.clone(), topics.assets.clone());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("demo-orders".to_owned())
            .spawn(move || feed.run(&orders, &assets, &stopped))
            .map_err(Failure::io("start a thread"))?;
        Ok(Self { stop, sent, thread })
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Stops sending. Says how many orders were sent.
    fn stop(self) -> Result<u64, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(result) => result.map_err(Failure::failed)?,
            Err(_) => {
                return Err(Failure::Failed(
                    "the thread that sends orders panicked; the log says where".to_owned(),
                ));
            }
        }
        Ok(self.sent.load(Ordering::Relaxed))
    }
}

/// The producer's side of the sending thread.
struct Feed<P> {
    producer: P,
    flow: OrderFlow,
    /// Orders a second.
    rate: u64,
    sent: Arc<AtomicU64>,
    value: Vec<u8>,
}

impl<P: Producer> Feed<P> {
    /// Sends the assets, then orders at the rate until told to stop.
    fn run(mut self, orders: &str, assets: &str, stop: &AtomicBool) -> Result<(), KafkaError> {
        let assets_topic = self.producer.topic(assets)?;
        for asset in self.flow.assets().collect::<Vec<_>>() {
            // An asset is a plain struct: there is nothing that JSON could refuse.
            self.value = serde_json::to_vec(&asset).unwrap_or_default();
            self.send(assets_topic, Some(asset.asset_id.as_bytes()))?;
        }
        let topic = self.producer.topic(orders)?;
        let started = Instant::now();
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) {
            let due = u128::from(self.rate) * started.elapsed().as_millis() / 1_000;
            while u128::from(sent) < due && !stop.load(Ordering::Relaxed) {
                self.value.clear();
                self.flow.next_order().write_json(&mut self.value);
                self.send(topic, None)?;
                sent += 1;
                self.sent.store(sent, Ordering::Relaxed);
            }
            self.producer.poll(Duration::from_millis(5));
        }
        self.producer.flush(DELIVER_WITHIN)
    }

    /// Sends the value, waiting while the producer's queue is full.
    fn send(&mut self, topic: TopicId, key: Option<&[u8]>) -> Result<(), KafkaError> {
        let timestamp = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
        loop {
            let record = Outgoing {
                topic,
                partition: None,
                key,
                value: Some(&self.value),
                timestamp: Timestamp::new(timestamp),
                headers: Headers::none(),
            };
            match self.producer.produce(&record) {
                Ok(()) => return Ok(()),
                Err(ProduceError::QueueFull) => self.producer.poll(Duration::from_millis(5)),
                Err(ProduceError::Refused(error)) => return Err(error),
            }
        }
    }
}
