//! `harness load`: fills a topic from a JSONL file.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::cluster::Cluster;

#[derive(Args)]
pub struct Options {
    #[arg(long, default_value = "127.0.0.1:29092", env = "BOOTSTRAP")]
    bootstrap: String,
    #[arg(long, default_value = "orders")]
    topic: String,
    #[arg(long)]
    file: PathBuf,
    #[arg(long, default_value_t = 4)]
    partitions: i32,
}

/// A line of the generator's file; the value's bytes are produced as they stand.
#[derive(Deserialize)]
pub struct Line<'a> {
    pub key: &'a str,
    #[serde(borrow)]
    pub value: &'a RawValue,
    pub timestamp: i64,
}

/// Keys must land on the partitions that Java clients choose.
pub fn producer(
    bootstrap: &str,
    linger_ms: &str,
) -> Result<ThreadedProducer<rdkafka::producer::DefaultProducerContext>> {
    Ok(ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("partitioner", "murmur2_random")
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        .set("linger.ms", linger_ms)
        .set("batch.size", "1000000")
        .set("queue.buffering.max.messages", "1000000")
        .create()?)
}

pub fn load(options: &Options) -> Result<()> {
    let cluster = Cluster::connect(&options.bootstrap)?;
    let file = File::open(&options.file).with_context(|| format!("{}", options.file.display()))?;
    cluster.recreate(&[&options.topic], options.partitions)?;
    let producer = producer(&options.bootstrap, "50")?;
    let started = Instant::now();
    let mut count = 0;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut text = String::new();
    while reader.read_line(&mut text)? > 0 {
        let line: Line =
            serde_json::from_str(&text).with_context(|| format!("line {}", count + 1))?;
        let mut record = BaseRecord::to(&options.topic)
            .key(line.key)
            .payload(line.value.get())
            .timestamp(line.timestamp);
        while let Err((error, unsent)) = producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                bail!(error);
            }
            std::thread::sleep(Duration::from_millis(1));
            record = unsent;
        }
        count += 1;
        text.clear();
    }
    producer.flush(Duration::from_secs(60))?;
    let stored = cluster.records(&options.topic)?;
    if stored != count {
        bail!("produced {count} records, but the topic holds {stored}");
    }
    println!("{}: {count} records in {:.1} s", options.topic, started.elapsed().as_secs_f64());
    Ok(())
}
