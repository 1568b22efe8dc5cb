//! The librdkafka properties that clients start from, and which of them a user may change.

use std::collections::BTreeMap;

use super::super::error::{ErrorClass, KafkaError};
use super::super::partition::Isolation;
use super::super::settings::{ConsumerRole, ConsumerSettings, ProducerSettings};
use super::native::Config;
use super::statistics::INTERVAL_MS;

/// Properties whose value the guarantees rest on, or that the runtime sets by itself.
const OWNED: &[&str] = &[
    "auto.offset.reset",
    "client.id",
    "delivery.report.only.error",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "partition.assignment.strategy",
    "partitioner",
    "transactional.id",
];

/// For every client. Brokers come back within seconds, so waiting ten for a reconnect is waste.
const COMMON: &[(&str, &str)] = &[
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "1000"),
    ("socket.connection.setup.timeout.ms", "10000"),
    ("log.connection.close", "false"),
];

/// How long an answer is waited for. A broker that froze, or whose machine is gone, closes no
/// connection: only this ends the wait. Its partitions have other leaders after nine seconds
/// (`broker.session.timeout.ms`), and who waits for longer stands still for no reason.
const ANSWER_TIMEOUT_MS: u64 = 10_000;

/// For every consumer: resume at once when the queue has room again (the default of a second starves
/// a fast reader). For stream threads `fetch.memory.bytes` says how much is fetched ahead. A position
/// that waits for its partition's leader goes on with the next metadata, so these are asked for more
/// often than every five minutes.
const CONSUMER: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("queued.min.messages", "20000"),
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.message.max.bytes", "262144"),
    ("fetch.max.bytes", "4194304"),
    ("fetch.queue.backoff.ms", "1"),
    ("fetch.wait.max.ms", "50"),
    ("topic.metadata.refresh.interval.ms", "10000"),
    ("statistics.interval.ms", INTERVAL_MS),
];

/// How long a transactional producer keeps a connection that nothing goes over. Sending offsets waits
/// without a limit for the group's coordinator that the client knows, even if that broker is gone and
/// another has taken over; the closing of an idle connection is what makes it ask again (librdkafka
/// issues 5456 and 5511).
const COORDINATOR_WAIT_MS: &str = "5000";

/// KiB of records that wait in a producer before it refuses more for a while.
pub const QUEUE_KIB: &str = "32768";

/// For every producer: batches that are large and yet stay in a processor's caches, and Java's
/// partitioner, so that keys land where Java's clients put them.
const PRODUCER: &[(&str, &str)] = &[
    ("enable.idempotence", "true"),
    ("partitioner", "murmur2_random"),
    ("compression.type", "lz4"),
    ("batch.size", "262144"),
    ("batch.num.messages", "100000"),
    // Just below what a broker takes by default, so that what it would refuse, and abort a
    // transaction for, is refused here, where only the record is at stake.
    ("message.max.bytes", "1048000"),
    ("queue.buffering.max.messages", "200000"),
    ("queue.buffering.max.kbytes", QUEUE_KIB),
    ("statistics.interval.ms", INTERVAL_MS),
];

/// What `message.max.bytes` has to allow: a pack of a repartition topic holds some 8 KiB of records and
/// one more that is smaller than that, and what is refused for its size is to be a single record.
pub const LEAST_MESSAGE_BYTES: u64 = 32_768;

/// How long records of a transaction are gathered. Nobody sees them before it commits, and a commit
/// sends what waits at once, so a batch goes when it is full. Were this shorter than a request
/// takes, librdkafka's thread would spin: it does not sleep while a batch is due, and an idempotent
/// producer sends a partition's next batch only when the one before was answered.
const TRANSACTIONAL_LINGER_MS: &str = "200";
/// How long records are gathered outside of transactions, where each waits for it.
const PROMPT_LINGER_MS: &str = "1";

/// For every admin client: asking for a topic does not create it, and leaders are looked for as
/// consumers do.
const ADMIN: &[(&str, &str)] =
    &[("allow.auto.create.topics", "false"), ("topic.metadata.refresh.interval.ms", "10000")];

/// How long a transaction may stay open before its coordinator aborts it.
const TRANSACTION_TIMEOUT_MS: u64 = 15_000;
/// How long a record may wait for its delivery outside of transactions.
const DELIVERY_TIMEOUT_MS: u64 = 120_000;

/// What a client is for, and so whose prefixed properties it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Consumer,
    RestoreConsumer,
    Producer,
    Admin,
}

impl Purpose {
    const PREFIXES: [&'static str; 4] = ["restore.consumer.", "consumer.", "producer.", "admin."];

    /// The prefixes of the properties it takes, the strongest last.
    fn prefixes(self) -> &'static [&'static str] {
        match self {
            Self::Consumer => &["consumer."],
            Self::RestoreConsumer => &["consumer.", "restore.consumer."],
            Self::Producer => &["producer."],
            Self::Admin => &["admin."],
        }
    }
}

/// The user's librdkafka properties, `bootstrap.servers` among them.
///
/// A property applies to every client that knows it; under `consumer.`, `restore.consumer.`,
/// `producer.` or `admin.` to those alone.
#[derive(Clone, Debug, Default)]
pub(super) struct Properties(BTreeMap<String, String>);

impl Properties {
    /// # Errors
    /// When a property is not the user's to set.
    pub(super) fn new(properties: BTreeMap<String, String>) -> Result<Self, KafkaError> {
        for name in properties.keys() {
            let bare = Purpose::PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix));
            let bare = bare.unwrap_or(name);
            if OWNED.contains(&bare) {
                return Err(refused(&format!(
                    "{name:?} cannot be set: its value follows from the application's own settings"
                )));
            }
        }
        let properties = Self(properties);
        let producer = properties.merged(PRODUCER, Purpose::Producer);
        match producer.get("message.max.bytes").map(|bytes| (bytes, bytes.parse::<u64>())) {
            Some((bytes, Ok(number))) if number < LEAST_MESSAGE_BYTES => Err(refused(&format!(
                "\"message.max.bytes\" is {bytes}: it has to be at least {LEAST_MESSAGE_BYTES}, as \
                 records between subtopologies travel together"
            ))),
            // What is no number librdkafka refuses.
            _ => Ok(properties),
        }
    }

    pub(super) fn consumer(&self, settings: &ConsumerSettings) -> Result<Config, KafkaError> {
        Self::config(self.of_consumer(settings))
    }

    fn of_consumer(&self, settings: &ConsumerSettings) -> BTreeMap<String, String> {
        let purpose = match settings.role {
            ConsumerRole::Member { .. } => Purpose::Consumer,
            ConsumerRole::Assigned => Purpose::RestoreConsumer,
        };
        let mut wanted = self.merged(CONSUMER, purpose);
        let mut set = |name: &str, value: &str| {
            wanted.insert(name.to_owned(), value.to_owned());
        };
        set("group.id", &settings.group_id);
        set("client.id", &settings.client_id);
        set("isolation.level", settings.isolation.as_str());
        match &settings.role {
            ConsumerRole::Member { group_instance_id } => {
                set("partition.assignment.strategy", "cooperative-sticky");
                // A batch call counts an end-of-partition as a record read, and the rebalance that
                // follows would then resume one record too far on.
                set("enable.partition.eof", "false");
                if let Some(id) = group_instance_id {
                    set("group.instance.id", id);
                }
            }
            ConsumerRole::Assigned => {
                set("enable.partition.eof", "true");
                // It is not polled while there is nothing to restore: they would pile up.
                set("statistics.interval.ms", "0");
            }
        }
        // librdkafka refuses a response that is smaller than what a message may be.
        let number = |name: &str| wanted.get(name).and_then(|value| value.parse::<u64>().ok());
        if let Some(message) = number("message.max.bytes")
            && number("fetch.max.bytes").is_some_and(|fetch| fetch < message)
        {
            wanted.insert("fetch.max.bytes".to_owned(), message.to_string());
        }
        wanted
    }

    pub(super) fn producer(&self, settings: &ProducerSettings) -> Result<Config, KafkaError> {
        let mut wanted = self.merged(PRODUCER, Purpose::Producer);
        if let Some(id) = &settings.transactional_id {
            let timeout = wanted.entry("transaction.timeout.ms".to_owned());
            let timeout = timeout.or_insert_with(|| TRANSACTION_TIMEOUT_MS.to_string()).clone();
            // Records must fail before their transaction is timed out, which would fence us.
            let delivery = timeout.parse().unwrap_or(TRANSACTION_TIMEOUT_MS) * 2 / 3;
            wanted.entry("message.timeout.ms".to_owned()).or_insert_with(|| delivery.to_string());
            wanted.insert("transactional.id".to_owned(), id.as_ref().to_owned());
            wanted
                .entry("connections.max.idle.ms".to_owned())
                .or_insert_with(|| COORDINATOR_WAIT_MS.to_owned());
            wanted
                .entry("linger.ms".to_owned())
                .or_insert_with(|| TRANSACTIONAL_LINGER_MS.to_owned());
        } else {
            wanted.entry("linger.ms".to_owned()).or_insert_with(|| PROMPT_LINGER_MS.to_owned());
            let delivery = wanted.entry("message.timeout.ms".to_owned());
            delivery.or_insert_with(|| DELIVERY_TIMEOUT_MS.to_string());
        }
        let only_errors = if settings.track_offsets { "false" } else { "true" };
        wanted.insert("delivery.report.only.error".to_owned(), only_errors.to_owned());
        wanted.insert("client.id".to_owned(), settings.client_id.as_ref().to_owned());
        Self::config(wanted)
    }

    pub(super) fn admin(&self) -> Result<Config, KafkaError> {
        // Committed offsets that it reads wait for open transactions, as the consumers' do.
        self.asking("tidemill-admin", Isolation::ReadCommitted)
    }

    /// Of a client that asks for offsets of logs, and for nothing else.
    pub(super) fn offsets(&self, isolation: Isolation) -> Result<Config, KafkaError> {
        self.asking("tidemill-offsets", isolation)
    }

    fn asking(&self, client_id: &str, isolation: Isolation) -> Result<Config, KafkaError> {
        let mut wanted = self.merged(ADMIN, Purpose::Admin);
        wanted.insert("client.id".to_owned(), client_id.to_owned());
        wanted.insert("isolation.level".to_owned(), isolation.as_str().to_owned());
        Self::config(wanted)
    }

    /// Defaults, then the user's properties, then those of this purpose.
    fn merged(&self, defaults: &[(&str, &str)], purpose: Purpose) -> BTreeMap<String, String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut merged: BTreeMap<_, _> = COMMON.iter().chain(defaults).map(owned).collect();
        let prefixed = |name: &str| Purpose::PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        for (name, value) in self.0.iter().filter(|(name, _)| !prefixed(name)) {
            merged.insert(name.clone(), value.clone());
        }
        for prefix in purpose.prefixes() {
            for (name, value) in &self.0 {
                if let Some(bare) = name.strip_prefix(prefix) {
                    merged.insert(bare.to_owned(), value.clone());
                }
            }
        }
        merged
    }

    fn config(mut wanted: BTreeMap<String, String>) -> Result<Config, KafkaError> {
        if !wanted.contains_key("bootstrap.servers") {
            return Err(refused("\"bootstrap.servers\" is missing: name at least one broker"));
        }
        // librdkafka refuses an answer's wait that is longer than the transaction may be open.
        let transaction = wanted.get("transaction.timeout.ms").and_then(|ms| ms.parse().ok());
        let answer = ANSWER_TIMEOUT_MS.min(transaction.unwrap_or(ANSWER_TIMEOUT_MS));
        wanted.entry("socket.timeout.ms".to_owned()).or_insert_with(|| answer.to_string());
        let mut config = Config::new();
        for (name, value) in &wanted {
            config.set(name, value)?;
        }
        Ok(config)
    }
}

fn refused(message: &str) -> KafkaError {
    KafkaError::new(ErrorClass::Configuration, "_INVALID_ARG", "configure client", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> Result<Properties, KafkaError> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Properties::new(pairs.collect())
    }

    #[test]
    fn a_property_the_guarantees_rest_on_is_refused_by_name_even_with_a_prefix() {
        for name in ["isolation.level", "consumer.auto.offset.reset", "producer.partitioner"] {
            let error = properties(&[(name, "x")]).unwrap_err();
            assert_eq!(error.class(), ErrorClass::Configuration);
            assert!(error.message().contains(name), "{error}");
        }
    }

    #[test]
    fn a_prefixed_property_reaches_its_clients_only_and_beats_the_plain_one() {
        let properties = properties(&[
            ("fetch.wait.max.ms", "7"),
            ("restore.consumer.fetch.wait.max.ms", "9"),
            ("producer.linger.ms", "3"),
        ])
        .unwrap();
        let main = properties.merged(CONSUMER, Purpose::Consumer);
        let restore = properties.merged(CONSUMER, Purpose::RestoreConsumer);
        assert_eq!(main["fetch.wait.max.ms"], "7");
        assert_eq!(restore["fetch.wait.max.ms"], "9");
        assert!(!main.contains_key("linger.ms"));
        assert_eq!(properties.merged(PRODUCER, Purpose::Producer)["linger.ms"], "3");
    }

    #[test]
    fn messages_without_room_for_a_pack_are_refused() {
        for name in ["message.max.bytes", "producer.message.max.bytes"] {
            let error = properties(&[(name, "32767")]).unwrap_err();
            assert_eq!(error.class(), ErrorClass::Configuration);
            assert!(error.message().contains("at least 32768"), "{error}");
        }
        assert!(properties(&[("message.max.bytes", "32768")]).is_ok());
        // Of a consumer it says how large a response may be.
        assert!(properties(&[("consumer.message.max.bytes", "1000")]).is_ok());
    }

    #[test]
    fn larger_messages_make_room_for_themselves_in_a_fetch() {
        let properties = properties(&[
            ("message.max.bytes", "8388608"),
            ("consumer.fetch.max.bytes", "1048576"),
        ]);
        let (group_id, client_id) = ("group".into(), "client".into());
        let (role, isolation) = (ConsumerRole::Assigned, Isolation::ReadCommitted);
        let settings = ConsumerSettings { group_id, client_id, isolation, role };
        let wanted = properties.unwrap().of_consumer(&settings);
        assert_eq!(wanted["fetch.max.bytes"], "8388608");
    }

    #[test]
    fn a_refused_value_is_not_repeated_in_the_error() {
        let properties =
            properties(&[("bootstrap.servers", "127.0.0.1:1"), ("security.protocol", "hunter2")])
                .unwrap();
        let error = properties.admin().unwrap_err();
        assert!(error.message().contains("security.protocol"), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn an_unknown_property_is_an_error() {
        let properties =
            properties(&[("bootstrap.servers", "127.0.0.1:1"), ("no.such.thing", "1")]).unwrap();
        let error = properties.admin().unwrap_err();
        assert!(error.message().contains("no.such.thing"), "{error}");
    }

    #[test]
    fn without_brokers_no_client_is_made() {
        assert!(properties(&[]).unwrap().admin().is_err());
    }
}
