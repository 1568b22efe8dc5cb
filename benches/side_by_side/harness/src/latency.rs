//! `harness latency`: end-to-end latency at a steady rate.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Args;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer};
use rdkafka::{Message, Offset, TopicPartitionList};
use serde::Serialize;

use crate::Common;
use crate::cluster::Cluster;
use crate::load::{self, Line};
use crate::process::{Identity, Processor, output_topics};
use crate::run::clean_up;

/// The header that carries the producer's wall clock in microseconds, as decimal text.
const SENT_AT: &str = "t0";
/// After the last record was sent, outputs are awaited until none came for so long.
const QUIET: Duration = Duration::from_secs(3);

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// Records a second.
    #[arg(long)]
    rate: u64,
    /// Seconds that are measured.
    #[arg(long)]
    seconds: u64,
    /// Seconds at the same rate before that, not measured.
    #[arg(long, default_value_t = 10)]
    warmup: u64,
    /// The records to send, as for `load`; read over again when they run out.
    #[arg(long)]
    file: PathBuf,
    /// The input topic; created afresh.
    #[arg(long, default_value = "orders-latency")]
    input: String,
    /// The processor.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

#[derive(Serialize)]
struct Report<'a> {
    kind: &'static str,
    name: &'a str,
    app_id: &'a str,
    workload: &'a str,
    guarantee: &'a str,
    threads: u32,
    rate: u64,
    seconds: u64,
    sent: u64,
    received: usize,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    /// CPU per record while measuring: the processor's, at this rate.
    cpu_us_per_record: f64,
}

pub fn latency(options: &Options) -> Result<()> {
    let common = &options.common;
    let cluster = Cluster::connect(&common.bootstrap)?;
    let identity = Identity::fresh(common)?;
    let output = output_topics(&common.workload)[0];
    cluster.recreate(&[&options.input], common.partitions)?;
    cluster.recreate(output_topics(&common.workload), common.partitions)?;
    let records = Records::read(&options.file)?;

    let mut processor = Processor::start(common, &identity, &options.input, &options.command)?;
    processor.wait_restored(common.timeout)?;

    let done = AtomicBool::new(false);
    let (sent, cpu_s, measured_from, samples) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| read_latencies(common, output, &done));
        let sending = send(options, &records, &processor);
        done.store(true, Ordering::Release);
        let samples = reader.join().expect("the reader thread")?;
        let (sent, cpu_s, measured_from) = sending?;
        anyhow::Ok((sent, cpu_s, measured_from, samples))
    })?;
    processor.check(common.timeout)?;
    processor.stop()?;

    let mut latencies: Vec<u64> = samples
        .iter()
        .filter(|sample| sample.sent_us >= measured_from)
        .map(|sample| sample.latency_us)
        .collect();
    if latencies.is_empty() {
        bail!("no output carried the header {SENT_AT}");
    }
    latencies.sort_unstable();
    let percentile =
        |p: f64| latencies[((latencies.len() - 1) as f64 * p) as usize] as f64 / 1_000.0;
    common.report(&Report {
        kind: "latency",
        name: &common.name,
        app_id: &identity.app_id,
        workload: &common.workload,
        guarantee: &common.guarantee,
        threads: common.threads,
        rate: options.rate,
        seconds: options.seconds,
        sent,
        received: latencies.len(),
        p50_ms: percentile(0.50),
        p95_ms: percentile(0.95),
        p99_ms: percentile(0.99),
        max_ms: percentile(1.0),
        cpu_us_per_record: cpu_s * 1e6 / sent as f64,
    })?;
    cluster.delete(&[&options.input])?;
    clean_up(&cluster, common, &identity)
}

/// Keys and values of a JSONL file.
struct Records(Vec<(String, String)>);

impl Records {
    fn read(path: &PathBuf) -> Result<Self> {
        /// Plenty for any rate; more would only hold memory.
        const MOST: usize = 1_000_000;
        let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
        let records: Vec<(String, String)> = text
            .lines()
            .take(MOST)
            .map(|text| {
                let line: Line = serde_json::from_str(text)?;
                Ok((line.key.to_string(), line.value.get().to_string()))
            })
            .collect::<Result<_>>()?;
        if records.is_empty() {
            bail!("{} is empty", path.display());
        }
        Ok(Records(records))
    }
}

/// Sends at the rate; returns the records sent while measuring, the CPU seconds the processor used
/// meanwhile, and when measuring began.
fn send(options: &Options, records: &Records, processor: &Processor) -> Result<(u64, f64, u64)> {
    let producer = load::producer(&options.common.bootstrap, "1")?;
    let warmup = options.warmup * options.rate;
    let total = warmup + options.seconds * options.rate;
    let started = Instant::now();
    let mut measuring: Option<(u64, f64)> = None;
    for (index, (key, value)) in (0..total).zip(records.0.iter().cycle()) {
        let due =
            Duration::from_nanos((index as u128 * 1_000_000_000 / options.rate as u128) as u64);
        while let Some(early) = due.checked_sub(started.elapsed()) {
            std::thread::sleep(early);
        }
        if index == warmup {
            measuring = Some((now_us()?, processor.usage()?.cpu_s()));
        }
        let sent_at = now_us()?;
        let text = sent_at.to_string();
        producer
            .send(
                BaseRecord::to(&options.input)
                    .key(key)
                    .payload(value)
                    .timestamp((sent_at / 1_000) as i64)
                    .headers(
                        OwnedHeaders::new().insert(Header { key: SENT_AT, value: Some(&text) }),
                    ),
            )
            .map_err(|(error, _)| error)?;
    }
    producer.flush(Duration::from_secs(30))?;
    let (measured_from, cpu_before) = measuring.context("--seconds must be above 0")?;
    Ok((total - warmup, processor.usage()?.cpu_s() - cpu_before, measured_from))
}

struct Sample {
    sent_us: u64,
    latency_us: u64,
}

fn read_latencies(common: &Common, topic: &str, done: &AtomicBool) -> Result<Vec<Sample>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &common.bootstrap)
        .set("group.id", "side-by-side-latency")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("fetch.wait.max.ms", "10")
        .set("fetch.queue.backoff.ms", "1")
        .create()?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..common.partitions {
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    let mut samples = Vec::new();
    let mut last = Instant::now();
    loop {
        match consumer.poll(Duration::from_millis(100)) {
            Some(message) => {
                let message = message?;
                let received = now_us()?;
                last = Instant::now();
                if let Some(sent_us) = sent_at(&message) {
                    samples.push(Sample { sent_us, latency_us: received.saturating_sub(sent_us) });
                }
            }
            None if done.load(Ordering::Acquire) && last.elapsed() > QUIET => return Ok(samples),
            None => {}
        }
    }
}

fn sent_at(message: &impl Message) -> Option<u64> {
    let headers = message.headers()?;
    let header = headers.iter().find(|header| header.key == SENT_AT)?;
    std::str::from_utf8(header.value?).ok()?.parse().ok()
}

fn now_us() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as u64)
}
