//! What the harness asks of a Kafka cluster.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

const TIMEOUT: Duration = Duration::from_secs(30);

pub struct Cluster {
    bootstrap: String,
    admin: AdminClient<DefaultClientContext>,
    /// Never subscribed; asks for metadata and watermarks.
    client: BaseConsumer,
}

impl Cluster {
    pub fn connect(bootstrap: &str) -> Result<Self> {
        let admin = ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
        let client = group_client(bootstrap, "side-by-side")?;
        Ok(Cluster { bootstrap: bootstrap.to_string(), admin, client })
    }

    /// Deletes the topics if they exist and creates them empty, without age-based retention.
    pub fn recreate(&self, topics: &[&str], partitions: i32) -> Result<()> {
        self.delete(topics)?;
        let new: Vec<NewTopic> = topics
            .iter()
            .map(|topic| {
                // -1: the brokers' default replication factor.
                NewTopic::new(topic, partitions, TopicReplication::Fixed(-1))
                    .set("retention.ms", "-1")
            })
            .collect();
        wait_for("topics to be created", || {
            for result in block_on(self.admin.create_topics(&new, &AdminOptions::new()))?? {
                match result {
                    Ok(_) => {}
                    // Its deletion may not be through on every broker.
                    Err((_, RDKafkaErrorCode::TopicAlreadyExists)) if self.missing(topics)? => {
                        return Ok(false);
                    }
                    Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                    Err((topic, error)) => bail!("creating {topic}: {error}"),
                }
            }
            Ok(true)
        })?;
        wait_for("partition leaders", || {
            let metadata = self.client.fetch_metadata(None, TIMEOUT)?;
            Ok(topics.iter().all(|topic| {
                metadata.topics().iter().any(|found| {
                    found.name() == *topic
                        && found.partitions().len() == partitions as usize
                        && found.partitions().iter().all(|partition| partition.leader() >= 0)
                })
            }))
        })
    }

    fn missing(&self, topics: &[&str]) -> Result<bool> {
        let names = self.topics()?;
        Ok(topics.iter().any(|topic| !names.iter().any(|name| name == topic)))
    }

    pub fn delete(&self, topics: &[&str]) -> Result<()> {
        let existing = self.topics()?;
        let doomed: Vec<&str> =
            topics.iter().copied().filter(|topic| existing.iter().any(|t| t == topic)).collect();
        if doomed.is_empty() {
            return Ok(());
        }
        for result in block_on(self.admin.delete_topics(&doomed, &AdminOptions::new()))?? {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
                Err((topic, error)) => bail!("deleting {topic}: {error}"),
            }
        }
        wait_for("topics to be deleted", || {
            let left = self.topics()?;
            Ok(!doomed.iter().any(|topic| left.iter().any(|t| t == topic)))
        })
    }

    pub fn topics(&self) -> Result<Vec<String>> {
        let metadata = self.client.fetch_metadata(None, TIMEOUT)?;
        Ok(metadata.topics().iter().map(|topic| topic.name().to_string()).collect())
    }

    /// The internal topics of a processor: those whose names start with its group id and a dash.
    pub fn internal_topics(&self, group: &str) -> Result<Vec<String>> {
        let prefix = format!("{group}-");
        Ok(self.topics()?.into_iter().filter(|topic| topic.starts_with(&prefix)).collect())
    }

    /// (low, high) watermark of each partition.
    pub fn watermarks(&self, topic: &str) -> Result<Vec<(i64, i64)>> {
        let metadata = self.client.fetch_metadata(Some(topic), TIMEOUT)?;
        let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
        if partitions == 0 {
            bail!("there is no topic {topic}; load it first");
        }
        (0..partitions as i32)
            .map(|partition| Ok(self.client.fetch_watermarks(topic, partition, TIMEOUT)?))
            .collect()
    }

    pub fn records(&self, topic: &str) -> Result<i64> {
        Ok(self.watermarks(topic)?.iter().map(|(low, high)| high - low).sum())
    }

    /// A client that can ask for the committed offsets of `group` without joining it.
    pub fn group(&self, group: &str) -> Result<Group> {
        Ok(Group { client: group_client(&self.bootstrap, group)? })
    }
}

pub struct Group {
    client: BaseConsumer,
}

impl Group {
    /// The committed offset of each partition, 0 where there is none.
    pub fn committed(&self, topic: &str, partitions: usize) -> Result<Vec<i64>> {
        let mut list = TopicPartitionList::new();
        list.add_partition_range(topic, 0, partitions as i32 - 1);
        let committed = self.client.committed_offsets(list, TIMEOUT)?;
        Ok(committed
            .elements()
            .iter()
            .map(|element| match element.offset() {
                Offset::Offset(offset) => offset,
                _ => 0,
            })
            .collect())
    }
}

fn group_client(bootstrap: &str, group: &str) -> Result<BaseConsumer> {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        // Under read_committed an open transaction's commit would make the broker refuse to answer.
        .set("isolation.level", "read_uncommitted")
        .create()
        .context("creating a client")
}

fn block_on<T>(future: impl Future<Output = T>) -> Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread().build()?.block_on(future))
}

fn wait_for(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    while !done()? {
        if started.elapsed() > TIMEOUT {
            bail!("waited {} s for {what}", TIMEOUT.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
