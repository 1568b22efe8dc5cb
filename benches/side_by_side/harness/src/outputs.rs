//! Reading what a processor wrote, and summing it up so that two processors can be compared.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset, TopicPartitionList};
use serde::Serialize;
use serde_json::Value;

#[derive(Args)]
pub struct ChecksumOptions {
    #[arg(long, default_value = "127.0.0.1:29092", env = "BOOTSTRAP")]
    bootstrap: String,
    #[arg(long)]
    topic: String,
}

#[derive(Args)]
pub struct DumpOptions {
    #[arg(long, default_value = "127.0.0.1:29092", env = "BOOTSTRAP")]
    bootstrap: String,
    #[arg(long)]
    topic: String,
    #[arg(long)]
    out: PathBuf,
}

/// Order-insensitive: the same records in any order, on any partition, give the same sums.
#[derive(Serialize)]
pub struct TopicSummary {
    pub records: u64,
    /// Over every (key, value).
    pub checksum: String,
    pub keys: u64,
    /// Over the last value of each key.
    pub last_checksum: String,
}

pub fn checksum(options: &ChecksumOptions) -> Result<()> {
    println!("{}", serde_json::to_string(&summarise(&options.bootstrap, &options.topic)?)?);
    Ok(())
}

pub fn summarise(bootstrap: &str, topic: &str) -> Result<TopicSummary> {
    let mut records = 0;
    let mut sum = 0u64;
    let mut last: HashMap<Vec<u8>, u64> = HashMap::new();
    for_each(bootstrap, topic, |message| {
        let key = message.key().unwrap_or_default();
        let hash = hash(key, message.payload());
        records += 1;
        sum = sum.wrapping_add(hash);
        match last.get_mut(key) {
            Some(value) => *value = hash,
            None => {
                last.insert(key.to_vec(), hash);
            }
        }
        Ok(())
    })?;
    let last_sum = last.values().fold(0u64, |sum, hash| sum.wrapping_add(*hash));
    Ok(TopicSummary {
        records,
        checksum: format!("{sum:016x}"),
        keys: last.len() as u64,
        last_checksum: format!("{last_sum:016x}"),
    })
}

pub fn dump(options: &DumpOptions) -> Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&options.out)?);
    for_each(&options.bootstrap, &options.topic, |message| {
        Ok(writeln!(
            out,
            r#"{{"partition":{},"offset":{},"timestamp":{},"key":"{}","value":"{}"}}"#,
            message.partition(),
            message.offset(),
            message.timestamp().to_millis().unwrap_or(-1),
            hex(message.key().unwrap_or_default()),
            hex(message.payload().unwrap_or_default()),
        )?)
    })?;
    Ok(out.flush()?)
}

/// Every committed record of a topic, in order within a partition.
fn for_each(
    bootstrap: &str,
    topic: &str,
    mut visit: impl FnMut(&BorrowedMessage) -> Result<()>,
) -> Result<()> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "side-by-side-reader")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("queued.min.messages", "200000")
        .set("fetch.message.max.bytes", "4194304")
        .set("fetch.queue.backoff.ms", "5")
        .set("fetch.wait.max.ms", "50")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(30))?;
    let mut open = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    let mut assignment = TopicPartitionList::new();
    for partition in 0..open as i32 {
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    while open > 0 {
        match consumer.poll(Duration::from_secs(30)) {
            Some(Ok(message)) => visit(&message)?,
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(error)) => bail!(error),
            None => bail!("{topic}: no end of partition within 30 s"),
        }
    }
    Ok(())
}

fn hash(key: &[u8], value: Option<&[u8]>) -> u64 {
    let mut text = Vec::with_capacity(256);
    text.extend_from_slice(&(key.len() as u32).to_be_bytes());
    text.extend_from_slice(key);
    match value {
        None => text.push(0),
        Some(value) => {
            text.push(1);
            match serde_json::from_slice::<Value>(value) {
                Ok(json) if json.is_object() => canonical(&json, &mut text),
                _ => text.extend_from_slice(value),
            }
        }
    }
    let fnv = text.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, &byte| {
        (hash ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3)
    });
    // FNV alone is too linear to be summed.
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// JSON without the freedoms of JSON: fields sorted, no spaces, numbers in ten-thousandths, so that
/// 101.25, 101.250 and 101.24999999999999 are one.
fn canonical(json: &Value, out: &mut Vec<u8>) {
    match json {
        Value::Object(fields) => {
            out.push(b'{');
            for (name, value) in fields {
                out.extend_from_slice(name.as_bytes());
                out.push(b':');
                canonical(value, out);
                out.push(b',');
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for item in items {
                canonical(item, out);
                out.push(b',');
            }
            out.push(b']');
        }
        Value::Number(number) => {
            let scaled = match number.as_i64() {
                Some(integer) => integer as i128 * 10_000,
                None => (number.as_f64().unwrap_or(0.0) * 10_000.0).round() as i128,
            };
            out.extend_from_slice(scaled.to_string().as_bytes());
        }
        other => out.extend_from_slice(other.to_string().as_bytes()),
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(nibble as u32, 16).expect("a nibble"));
        }
    }
    text
}
