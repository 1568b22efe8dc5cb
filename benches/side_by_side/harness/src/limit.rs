//! `harness limit`: a processor that does nothing but move records from the orders topic to the out
//! topic, as fast as librdkafka goes. It marks the practical ceiling of `passthrough`.
//!
//! It keeps the environment contract, except that it assigns all partitions to itself instead of
//! joining the group and always starts at the beginning, so it is for fresh runs only; THREADS is
//! ignored. Keys and values are copied; timestamps and headers are not.
//!
//! It speaks librdkafka's C interface throughout. What its `unsafe` rests on: the handles are made
//! in `open`, live as long as the process, and are used by one thread; a message is read between
//! the call that hands it over and `rd_kafka_message_destroy`, and produced by copy.

use std::env;
use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rdkafka::bindings::*;
use rdkafka::producer::PARTITION_UA;
use rdkafka::types::{RDKafkaConfRes, RDKafkaRespErr, RDKafkaType};

use crate::cluster::Cluster;

const COMMIT_EVERY: Duration = Duration::from_millis(100);
const BATCH: usize = 10_000;
const FOREVER: c_int = -1;

pub fn limit() -> Result<()> {
    let started = Instant::now();
    let bootstrap = required("BOOTSTRAP")?;
    let group = required("APP_ID")?;
    let orders = env::var("ORDERS_TOPIC").unwrap_or("orders".into());
    let out = env::var("OUT_TOPIC").unwrap_or("out".into());
    let transactional =
        env::var("GUARANTEE").map_or(true, |guarantee| guarantee == "exactly_once_v2");
    let partitions = Cluster::connect(&bootstrap)?.watermarks(&orders)?.len() as i32;
    unsafe {
        let mut source = Source::open(&bootstrap, &group, &orders, partitions)?;
        let sink = Sink::open(&bootstrap, &group, &out, transactional)?;
        println!("RESTORED {}", started.elapsed().as_millis());
        copy(&mut source, &sink)
    }
}

/// Loops until the process is told to end.
unsafe fn copy(source: &mut Source, sink: &Sink) -> Result<()> {
    let mut messages = vec![ptr::null_mut(); BATCH];
    let mut copies = Vec::with_capacity(BATCH);
    let mut dirty = false;
    let mut committed = Instant::now();
    loop {
        unsafe {
            let count = source.next_batch(&mut messages)?;
            if count > 0 && !dirty {
                sink.begin()?;
                dirty = true;
            }
            sink.send(&messages[..count], &mut copies)?;
            for &message in &messages[..count] {
                rd_kafka_message_destroy(message);
            }
            if dirty && committed.elapsed() >= COMMIT_EVERY {
                sink.commit(source)?;
                dirty = false;
                committed = Instant::now();
            }
        }
    }
}

struct Source {
    consumer: *mut rd_kafka_t,
    /// All partition queues are forwarded into this one; the consumer's own queue must not be
    /// batch-read.
    queue: *mut rd_kafka_queue_t,
    /// The next offsets, kept here: batches do not advance the consumer's positions.
    offsets: *mut rd_kafka_topic_partition_list_t,
}

impl Source {
    unsafe fn open(bootstrap: &str, group: &str, topic: &str, partitions: i32) -> Result<Self> {
        let topic_name = CString::new(topic)?;
        unsafe {
            let consumer = client(
                RDKafkaType::RD_KAFKA_CONSUMER,
                &[
                    ("bootstrap.servers", bootstrap),
                    ("group.id", group),
                    ("enable.auto.commit", "false"),
                    ("isolation.level", "read_committed"),
                    ("queued.min.messages", "200000"),
                    ("queued.max.messages.kbytes", "131072"),
                    ("fetch.message.max.bytes", "4194304"),
                    ("fetch.queue.backoff.ms", "1"),
                    ("fetch.wait.max.ms", "10"),
                ],
            )?;
            rd_kafka_poll_set_consumer(consumer);
            let queue = rd_kafka_queue_new(consumer);
            let offsets = rd_kafka_topic_partition_list_new(partitions);
            let start = rd_kafka_topic_partition_list_new(partitions);
            for partition in 0..partitions {
                let own = rd_kafka_queue_get_partition(consumer, topic_name.as_ptr(), partition);
                rd_kafka_queue_forward(own, queue);
                rd_kafka_queue_destroy(own);
                (*rd_kafka_topic_partition_list_add(offsets, topic_name.as_ptr(), partition))
                    .offset = 0;
                (*rd_kafka_topic_partition_list_add(start, topic_name.as_ptr(), partition))
                    .offset = RD_KAFKA_OFFSET_BEGINNING as i64;
            }
            check(rd_kafka_assign(consumer, start))?;
            rd_kafka_topic_partition_list_destroy(start);
            Ok(Source { consumer, queue, offsets })
        }
    }

    unsafe fn next_batch(&mut self, messages: &mut [*mut rd_kafka_message_t]) -> Result<usize> {
        unsafe {
            let event = rd_kafka_consumer_poll(self.consumer, 0);
            if !event.is_null() {
                check((*event).err)?;
                rd_kafka_message_destroy(event);
            }
            let count =
                rd_kafka_consume_batch_queue(self.queue, 5, messages.as_mut_ptr(), messages.len());
            if count < 0 {
                bail!("the batch call failed");
            }
            let positions =
                std::slice::from_raw_parts_mut((*self.offsets).elems, (*self.offsets).cnt as usize);
            for &message in &messages[..count as usize] {
                check((*message).err)?;
                positions[(*message).partition as usize].offset = (*message).offset + 1;
            }
            Ok(count as usize)
        }
    }
}

struct Sink {
    producer: *mut rd_kafka_t,
    topic: *mut rd_kafka_topic_t,
    group: *mut rd_kafka_consumer_group_metadata_t,
    transactional: bool,
}

impl Sink {
    unsafe fn open(bootstrap: &str, group: &str, topic: &str, transactional: bool) -> Result<Self> {
        let mut settings = vec![
            ("bootstrap.servers", bootstrap),
            ("enable.idempotence", "true"),
            ("partitioner", "murmur2_random"),
            ("compression.type", "lz4"),
            ("linger.ms", "20"),
            ("batch.size", "1000000"),
            ("batch.num.messages", "100000"),
            ("queue.buffering.max.messages", "2000000"),
        ];
        if transactional {
            settings.push(("transactional.id", group));
        }
        unsafe {
            // Without a delivery-report callback none are made, and nobody has to poll for them.
            let producer = client(RDKafkaType::RD_KAFKA_PRODUCER, &settings)?;
            let topic =
                rd_kafka_topic_new(producer, CString::new(topic)?.as_ptr(), ptr::null_mut());
            if transactional {
                check_error(rd_kafka_init_transactions(producer, FOREVER))?;
            }
            let group = rd_kafka_consumer_group_metadata_new(CString::new(group)?.as_ptr());
            Ok(Sink { producer, topic, group, transactional })
        }
    }

    unsafe fn begin(&self) -> Result<()> {
        if self.transactional {
            unsafe { check_error(rd_kafka_begin_transaction(self.producer)) }?;
        }
        Ok(())
    }

    unsafe fn send(
        &self,
        messages: &[*mut rd_kafka_message_t],
        copies: &mut Vec<rd_kafka_message_t>,
    ) -> Result<()> {
        unsafe {
            copies.clear();
            copies.extend(messages.iter().map(|&message| rd_kafka_message_t {
                payload: (*message).payload,
                len: (*message).len,
                key: (*message).key,
                key_len: (*message).key_len,
                ..std::mem::zeroed()
            }));
            while !copies.is_empty() {
                rd_kafka_produce_batch(
                    self.topic,
                    PARTITION_UA,
                    RD_KAFKA_MSG_F_COPY as c_int,
                    copies.as_mut_ptr(),
                    copies.len() as c_int,
                );
                copies.retain(|copy| copy.err != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR);
                if let Some(copy) =
                    copies.iter().find(|c| c.err != RDKafkaRespErr::RD_KAFKA_RESP_ERR__QUEUE_FULL)
                {
                    check(copy.err)?;
                }
                rd_kafka_poll(self.producer, if copies.is_empty() { 0 } else { 1 });
            }
            Ok(())
        }
    }

    /// The crate's commit_transaction polls for 100 ms first; this one does not.
    unsafe fn commit(&self, source: &Source) -> Result<()> {
        unsafe {
            if self.transactional {
                check_error(rd_kafka_send_offsets_to_transaction(
                    self.producer,
                    source.offsets,
                    self.group,
                    FOREVER,
                ))?;
                check_error(rd_kafka_commit_transaction(self.producer, FOREVER))
            } else {
                check(rd_kafka_flush(self.producer, 60_000))?;
                check(rd_kafka_commit(source.consumer, source.offsets, 0))
            }
        }
    }
}

unsafe fn client(kind: RDKafkaType, settings: &[(&str, &str)]) -> Result<*mut rd_kafka_t> {
    let mut error = [0 as c_char; 512];
    unsafe {
        let config = rd_kafka_conf_new();
        for (name, value) in settings {
            let result = rd_kafka_conf_set(
                config,
                CString::new(*name)?.as_ptr(),
                CString::new(*value)?.as_ptr(),
                error.as_mut_ptr(),
                error.len(),
            );
            if result != RDKafkaConfRes::RD_KAFKA_CONF_OK {
                bail!("{}", CStr::from_ptr(error.as_ptr()).to_string_lossy());
            }
        }
        let client = rd_kafka_new(kind, config, error.as_mut_ptr(), error.len());
        if client.is_null() {
            bail!("{}", CStr::from_ptr(error.as_ptr()).to_string_lossy());
        }
        Ok(client)
    }
}

fn check(error: RDKafkaRespErr) -> Result<()> {
    if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        bail!("{error:?}");
    }
    Ok(())
}

unsafe fn check_error(error: *mut rd_kafka_error_t) -> Result<()> {
    if error.is_null() {
        return Ok(());
    }
    unsafe {
        let text = CStr::from_ptr(rd_kafka_error_string(error)).to_string_lossy().into_owned();
        rd_kafka_error_destroy(error);
        bail!(text)
    }
}

fn required(name: &str) -> Result<String> {
    env::var(name).with_context(|| format!("environment variable {name} is not set"))
}
