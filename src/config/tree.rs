//! The typed configuration the rest of the program reads.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{ConfigError, Problem};
use super::kafka::KafkaProperties;
use super::key;
use super::layers::{Layers, Surroundings};
use super::secret::Secret;
use super::settings::Settings;

/// Everything an instance can be told. Each field is the key of the same name in the
/// [table](super::table), which says what it means.
#[derive(Debug, Clone)]
pub struct Config {
    /// `application.id`.
    pub application_id: String,
    /// `instance.id`; `None`: generated once and kept in the state folder.
    pub instance_id: Option<String>,
    /// Kafka clients.
    pub kafka: KafkaConfig,
    /// Threads, commits and the order of inputs.
    pub runtime: RuntimeConfig,
    /// Stores and changelogs.
    pub state: StateConfig,
    /// Reactions to records that fail.
    pub errors: ErrorsConfig,
    /// The HTTP server.
    pub http: HttpConfig,
    /// Logs.
    pub log: LogConfig,
    /// The flagship's own settings.
    pub exchange: ExchangeConfig,
}

/// Settings of the Kafka clients.
#[derive(Debug, Clone)]
pub struct KafkaConfig {
    /// `bootstrap.servers`.
    pub bootstrap_servers: String,
    /// `transaction.timeout.ms`.
    pub transaction_timeout: Duration,
    /// `session.timeout.ms`.
    pub session_timeout: Duration,
    /// `heartbeat.interval.ms`.
    pub heartbeat_interval: Duration,
    /// `retry.backoff.ms`.
    pub retry_backoff: Duration,
    /// `retry.backoff.max.ms`.
    pub retry_backoff_max: Duration,
    /// `max.poll.interval.ms`.
    pub max_poll_interval: Duration,
    /// `auto.offset.reset`.
    pub auto_offset_reset: AutoOffsetReset,
    /// `replication.factor`; -1: the broker's default.
    pub replication_factor: i32,
    /// `fetch.memory.bytes`, of the whole process.
    pub fetch_memory_bytes: u64,
    /// Everything under `[kafka]`, for every client of this instance.
    pub properties: KafkaProperties,
}

/// Settings of the stream threads.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// `processing.guarantee`.
    pub guarantee: ProcessingGuarantee,
    /// `commit.interval.ms`.
    pub commit_interval: Duration,
    /// `threads`.
    pub threads: usize,
    /// `max.poll.records`.
    pub max_poll_records: usize,
    /// `buffered.records.per.partition`.
    pub buffered_records_per_partition: usize,
    /// `max.task.idle.ms`; `None` is -1: never wait.
    pub max_task_idle: Option<Duration>,
    /// `write.set.max.bytes`, of a thread.
    pub write_set_max_bytes: u64,
    /// `purge.interval.ms`.
    pub purge_interval: Duration,
    /// `topology.optimization`.
    pub optimization: Optimization,
}

/// Settings of the stores.
#[derive(Debug, Clone)]
pub struct StateConfig {
    /// `state.dir`.
    pub dir: PathBuf,
    /// `state.memory.bytes`, of the whole process.
    pub memory_bytes: u64,
    /// `statestore.cache.max.bytes`, of the whole process.
    pub cache_max_bytes: u64,
    /// `state.flush.bytes`, of a task.
    pub flush_bytes: u64,
    /// `state.flush.interval.ms`; zero: at every commit.
    pub flush_interval: Duration,
    /// `state.cleanup.delay.ms`.
    pub cleanup_delay: Duration,
    /// `acceptable.recovery.lag`, in records.
    pub acceptable_recovery_lag: u64,
    /// `join.when.warm`.
    pub join_when_warm: bool,
    /// `standby.replicas`.
    pub standby_replicas: usize,
    /// `changelog.out.of.range`.
    pub changelog_out_of_range: ChangelogOutOfRange,
}

/// Settings for records that fail.
#[derive(Debug, Clone)]
pub struct ErrorsConfig {
    /// `input.out.of.range`.
    pub input_out_of_range: InputOutOfRange,
    /// `deserialization.exception.handler`.
    pub deserialization: HandlerChoice,
    /// `processing.exception.handler`.
    pub processing: HandlerChoice,
    /// `production.exception.handler`.
    pub production: HandlerChoice,
    /// `errors.dead.letter.queue.topic.name`.
    pub dead_letter_topic: Option<String>,
}

/// Where what HTTP needs for TLS lies, each in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// `http.tls.certificate`.
    pub certificate: PathBuf,
    /// `http.tls.key`.
    pub key: PathBuf,
    /// `http.tls.ca`.
    pub authorities: Option<PathBuf>,
}

/// Settings of the HTTP server.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// `http.listen`; `None` is `off`.
    pub listen: Option<SocketAddr>,
    /// `http.advertised`; `None`: where it listens.
    pub advertised: Option<String>,
    /// `http.allow.remote`.
    pub allow_remote: bool,
    /// `http.token`.
    pub token: Option<Secret>,
    /// `http.tls.certificate`, `http.tls.key` and `http.tls.ca`; `None`: in the clear.
    pub tls: Option<TlsFiles>,
    /// `http.max.connections`.
    pub max_connections: usize,
    /// `http.max.header.bytes`.
    pub max_header_bytes: usize,
    /// `http.max.body.bytes`.
    pub max_body_bytes: usize,
    /// `http.header.timeout.ms`.
    pub header_timeout: Duration,
    /// `http.request.timeout.ms`.
    pub request_timeout: Duration,
}

/// Settings of the log.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// `log.format`.
    pub format: LogFormat,
    /// `log.level`: a level, or directives by module.
    pub level: String,
}

/// Settings of the exchange.
#[derive(Debug, Clone)]
pub struct ExchangeConfig {
    /// `exchange.topics.*`.
    pub topics: ExchangeTopics,
    /// `exchange.orders.keyed`.
    pub orders_keyed: bool,
    /// `exchange.repartition.partitions`; `None`: as many as the orders topic has.
    pub repartition_partitions: Option<u32>,
    /// `exchange.require_listed`.
    pub require_listed: bool,
    /// `exchange.self_trade`.
    pub self_trade: SelfTrade,
    /// `exchange.dedupe_window`; `None`: ids are not remembered.
    pub dedupe_window: Option<Duration>,
    /// `exchange.candle.window.ms`.
    pub candle_window: Duration,
    /// `exchange.candle.grace.ms`.
    pub candle_grace: Duration,
}

/// Names of the exchange's topics.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // each is the key `exchange.topics.<name>`, and nothing more can be said
pub struct ExchangeTopics {
    pub orders: String,
    pub assets: String,
    pub trades: String,
    pub order_updates: String,
    pub candles: String,
    pub positions: String,
    pub orders_dlq: String,
}

/// An enum whose variants are the words of a `Choice` key, the default first.
macro_rules! choice {
    ($(#[$about:meta])* $name:ident {
        $(#[$first_doc:meta])* $first:ident = $first_word:literal,
        $($(#[$doc:meta])* $variant:ident = $word:literal,)*
    }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub enum $name {
            #[default]
            $(#[$first_doc])* $first,
            $($(#[$doc])* $variant),*
        }

        impl $name {
            /// The word that stands for it in a configuration.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { Self::$first => $first_word, $(Self::$variant => $word),* }
            }

            fn from_word(word: &str) -> Option<Self> {
                match word {
                    $first_word => Some(Self::$first),
                    $($word => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

choice! {
    /// What a crash may do to results.
    ProcessingGuarantee {
        /// Nothing is lost, nothing is written twice.
        ExactlyOnce = "exactly_once",
        /// Nothing is lost, some results may be written again.
        AtLeastOnce = "at_least_once",
    }
}
choice! {
    /// Where an input without a committed position starts.
    AutoOffsetReset {
        /// At its oldest record.
        Earliest = "earliest",
        /// At its end.
        Latest = "latest",
    }
}
choice! {
    /// What to do when a store's changelog no longer holds its position.
    ChangelogOutOfRange {
        /// Clear the store and read the changelog from its start.
        Rebuild = "rebuild",
        /// Stop.
        Fail = "fail",
    }
}
choice! {
    /// What to do when an input no longer holds the committed position.
    InputOutOfRange {
        /// Stop.
        Fail = "fail",
        /// Go on at the oldest record, counting the gap.
        Skip = "skip",
    }
}
choice! {
    /// What to do with a record that fails.
    HandlerChoice {
        /// Stop the task.
        Fail = "fail",
        /// Drop and count it, to the dead-letter topic when there is one.
        Continue = "continue",
    }
}
choice! {
    /// Whether a topology is rewritten for fewer internal topics.
    Optimization {
        /// As it was written.
        None = "none",
        /// Merge repartitions, reuse source topics as changelogs.
        All = "all",
    }
}
choice! {
    /// How a log line looks.
    LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}
choice! {
    /// What happens when an order meets one of its own investor.
    SelfTrade {
        /// They trade.
        Allow = "allow",
        /// The rest of the incoming order is cancelled.
        CancelNewest = "cancel_newest",
    }
}

impl Config {
    /// A configuration from the text of one TOML file, without environment or flags.
    ///
    /// `name` stands for the file in errors.
    ///
    /// # Errors
    /// Every problem found in it.
    pub fn from_toml(name: &str, text: &str) -> Result<Self, ConfigError> {
        let surroundings = Surroundings::of_process();
        let layers = Layers::new().file(Path::new(name), text)?;
        Self::from_settings(&Settings::merge(&layers, &surroundings)?)
    }

    /// A configuration from merged settings.
    ///
    /// # Errors
    /// Values that contradict each other.
    pub fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        let mut read = Reader { settings, problems: Vec::new() };
        let config = Self {
            application_id: read.text("application.id"),
            instance_id: read.optional("instance.id"),
            kafka: KafkaConfig::read(&mut read),
            runtime: RuntimeConfig::read(&mut read),
            state: StateConfig::read(&mut read),
            errors: ErrorsConfig::read(&mut read),
            http: HttpConfig::read(&mut read),
            log: LogConfig {
                format: read.parsed("log.format", LogFormat::from_word),
                level: read.text("log.level"),
            },
            exchange: ExchangeConfig::read(&mut read),
        };
        config.agree(&mut read);
        if read.problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError { problems: read.problems })
        }
    }

    /// The rules that bind several keys.
    fn agree(&self, read: &mut Reader<'_>) {
        let kafka = &self.kafka;
        if kafka.transaction_timeout < self.runtime.commit_interval {
            let commit_ms = self.runtime.commit_interval.as_millis();
            let rule = format!("must be at least commit.interval.ms, which is {commit_ms}");
            read.contradiction("transaction.timeout.ms", rule);
        }
        if kafka.heartbeat_interval * 3 > kafka.session_timeout {
            let session_ms = kafka.session_timeout.as_millis();
            let rule =
                format!("must be at most a third of session.timeout.ms, which is {session_ms}");
            read.contradiction("heartbeat.interval.ms", rule);
        }
        if kafka.retry_backoff_max < kafka.retry_backoff {
            let first_ms = kafka.retry_backoff.as_millis();
            let rule = format!("must be at least retry.backoff.ms, which is {first_ms}");
            read.contradiction("retry.backoff.max.ms", rule);
        }
        if kafka.max_poll_interval < kafka.session_timeout {
            let session_ms = kafka.session_timeout.as_millis();
            let rule = format!("must be at least session.timeout.ms, which is {session_ms}");
            read.contradiction("max.poll.interval.ms", rule);
        }
        if self.state.join_when_warm && self.state.standby_replicas == 0 {
            let rule = "needs standby.replicas of at least 1, for an instance without copies \
                        never becomes warm";
            read.contradiction("join.when.warm", rule.to_owned());
        }
        let remote = self.http.listen.is_some_and(|address| !address.ip().is_loopback());
        if remote && !self.http.allow_remote {
            let rule = "only a loopback address is served unless http.allow.remote = true \
                        (set http.token as well unless the network is trusted)";
            read.contradiction("http.listen", rule.to_owned());
        }
    }
}

impl KafkaConfig {
    fn read(read: &mut Reader<'_>) -> Self {
        let mut properties = KafkaProperties::default();
        for (name, value) in read.settings.kafka() {
            properties.set(name, value);
        }
        Self {
            bootstrap_servers: read.text("bootstrap.servers"),
            transaction_timeout: read.duration("transaction.timeout.ms"),
            session_timeout: read.duration("session.timeout.ms"),
            heartbeat_interval: read.duration("heartbeat.interval.ms"),
            retry_backoff: read.duration("retry.backoff.ms"),
            retry_backoff_max: read.duration("retry.backoff.max.ms"),
            max_poll_interval: read.duration("max.poll.interval.ms"),
            auto_offset_reset: read.parsed("auto.offset.reset", AutoOffsetReset::from_word),
            replication_factor: read.number("replication.factor"),
            fetch_memory_bytes: read.number("fetch.memory.bytes"),
            properties,
        }
    }
}

impl RuntimeConfig {
    fn read(read: &mut Reader<'_>) -> Self {
        let idle_ms: i64 = read.number("max.task.idle.ms");
        Self {
            guarantee: read.parsed("processing.guarantee", ProcessingGuarantee::from_word),
            commit_interval: read.duration("commit.interval.ms"),
            threads: read.number("threads"),
            max_poll_records: read.number("max.poll.records"),
            buffered_records_per_partition: read.number("buffered.records.per.partition"),
            max_task_idle: u64::try_from(idle_ms).ok().map(Duration::from_millis),
            write_set_max_bytes: read.number("write.set.max.bytes"),
            purge_interval: read.duration("purge.interval.ms"),
            optimization: read.parsed("topology.optimization", Optimization::from_word),
        }
    }
}

impl StateConfig {
    fn read(read: &mut Reader<'_>) -> Self {
        Self {
            dir: PathBuf::from(read.text("state.dir")),
            memory_bytes: read.number("state.memory.bytes"),
            cache_max_bytes: read.number("statestore.cache.max.bytes"),
            flush_bytes: read.number("state.flush.bytes"),
            flush_interval: read.duration("state.flush.interval.ms"),
            cleanup_delay: read.duration("state.cleanup.delay.ms"),
            acceptable_recovery_lag: read.number("acceptable.recovery.lag"),
            join_when_warm: read.switch("join.when.warm"),
            standby_replicas: read.number("standby.replicas"),
            changelog_out_of_range: read
                .parsed("changelog.out.of.range", ChangelogOutOfRange::from_word),
        }
    }
}

impl ErrorsConfig {
    fn read(read: &mut Reader<'_>) -> Self {
        let handler = HandlerChoice::from_word;
        Self {
            input_out_of_range: read.parsed("input.out.of.range", InputOutOfRange::from_word),
            deserialization: read.parsed("deserialization.exception.handler", handler),
            processing: read.parsed("processing.exception.handler", handler),
            production: read.parsed("production.exception.handler", handler),
            dead_letter_topic: read.optional("errors.dead.letter.queue.topic.name"),
        }
    }
}

impl HttpConfig {
    fn read(read: &mut Reader<'_>) -> Self {
        Self {
            listen: read.parsed("http.listen", key::parse_listen),
            advertised: read.optional("http.advertised"),
            allow_remote: read.switch("http.allow.remote"),
            token: read.optional("http.token").map(Secret::new),
            tls: read.tls_files(),
            max_connections: read.number("http.max.connections"),
            max_header_bytes: read.number("http.max.header.bytes"),
            max_body_bytes: read.number("http.max.body.bytes"),
            header_timeout: read.duration("http.header.timeout.ms"),
            request_timeout: read.duration("http.request.timeout.ms"),
        }
    }
}

impl ExchangeConfig {
    fn read(read: &mut Reader<'_>) -> Self {
        Self {
            topics: ExchangeTopics {
                orders: read.text("exchange.topics.orders"),
                assets: read.text("exchange.topics.assets"),
                trades: read.text("exchange.topics.trades"),
                order_updates: read.text("exchange.topics.order-updates"),
                candles: read.text("exchange.topics.candles"),
                positions: read.text("exchange.topics.positions"),
                orders_dlq: read.text("exchange.topics.orders-dlq"),
            },
            orders_keyed: read.switch("exchange.orders.keyed"),
            repartition_partitions: read
                .optional("exchange.repartition.partitions")
                .and_then(|text| text.parse().ok()),
            require_listed: read.switch("exchange.require_listed"),
            self_trade: read.parsed("exchange.self_trade", SelfTrade::from_word),
            dedupe_window: read
                .optional("exchange.dedupe_window")
                .and_then(|text| text.parse().ok())
                .map(Duration::from_millis),
            candle_window: read.duration("exchange.candle.window.ms"),
            candle_grace: read.duration("exchange.candle.grace.ms"),
        }
    }
}

/// Reads typed values out of settings that are already legal by themselves.
///
/// A key or word that table and structs do not share is a slip in this folder, not a user's:
/// it is reported as a problem, and the tests below find it.
struct Reader<'a> {
    settings: &'a Settings,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    /// The certificate and its key, which come together, and the authorities.
    fn tls_files(&mut self) -> Option<TlsFiles> {
        let [certificate, key, authorities] =
            ["http.tls.certificate", "http.tls.key", "http.tls.ca"]
                .map(|name| self.optional(name).map(PathBuf::from));
        match (certificate, key) {
            (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key, authorities }),
            (None, None) => {
                if authorities.is_some() {
                    let rule = "needs http.tls.certificate and http.tls.key: without them HTTP is \
                                not encrypted";
                    self.contradiction("http.tls.ca", rule.to_owned());
                }
                None
            }
            (Some(_), None) => {
                let rule = "needs its private key in http.tls.key";
                self.contradiction("http.tls.certificate", rule.to_owned());
                None
            }
            (None, Some(_)) => {
                let rule = "needs the certificate that it belongs to in http.tls.certificate";
                self.contradiction("http.tls.key", rule.to_owned());
                None
            }
        }
    }

    fn optional(&self, name: &'static str) -> Option<String> {
        debug_assert!(super::table::find(name).is_some(), "{name} is not in the table");
        self.settings.text(name).map(str::to_owned)
    }

    fn text(&mut self, name: &'static str) -> String {
        self.parsed(name, |text| Some(text.to_owned()))
    }

    fn switch(&mut self, name: &'static str) -> bool {
        self.parsed(name, key::parse_switch)
    }

    fn duration(&mut self, name: &'static str) -> Duration {
        Duration::from_millis(self.number(name))
    }

    fn number<N: TryFrom<i64> + Default>(&mut self, name: &'static str) -> N {
        self.parsed(name, |text| key::parse_bytes(text).and_then(|n| N::try_from(n).ok()))
    }

    fn parsed<T: Default>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> T {
        self.settings.text(name).and_then(parse).unwrap_or_else(|| {
            self.contradiction(name, "no such value can be held".to_owned());
            T::default()
        })
    }

    fn contradiction(&mut self, key: &'static str, rule: String) {
        let (value, origin) = match self.settings.get(key) {
            Some(setting) => (setting.shown().to_owned(), setting.origin.clone()),
            None => ("not set".to_owned(), super::layers::Origin::Default),
        };
        self.problems.push(Problem::Contradiction { key, value, origin, rule });
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::Kind;
    use super::super::table;
    use super::*;

    fn config(text: &str) -> Result<Config, String> {
        let text = format!("application.id = 'a'\nbootstrap.servers = 'b:1'\n{text}");
        Config::from_toml("t.toml", &text).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_make_a_config() {
        let config = config("").unwrap();
        assert_eq!(config.runtime.guarantee, ProcessingGuarantee::ExactlyOnce);
        assert_eq!(config.runtime.commit_interval, Duration::from_millis(100));
        assert_eq!(config.runtime.max_task_idle, Some(Duration::ZERO));
        assert_eq!(config.http.listen.map(|a| a.to_string()).as_deref(), Some("127.0.0.1:9464"));
        assert_eq!(config.exchange.topics.order_updates, "order-updates");
        assert_eq!(config.state.memory_bytes, 128 << 20);
        assert_eq!(config.kafka.replication_factor, -1);
    }

    #[test]
    fn every_key_of_the_table_is_read_by_the_structs() {
        let source = include_str!("tree.rs");
        for key in table::keys() {
            assert!(source.contains(&format!("(\"{}\"", key.name)), "{} is never read", key.name);
        }
    }

    #[test]
    fn every_word_of_every_choice_is_understood() {
        for key in table::keys() {
            if let Kind::Choice(words) = key.kind {
                for word in words {
                    let line = format!("{} = '{word}'", key.name);
                    assert!(config(&line).is_ok(), "{line}: {:?}", config(&line).err());
                }
            }
        }
    }

    #[test]
    fn minus_one_never_idles() {
        assert_eq!(config("max.task.idle.ms = -1").unwrap().runtime.max_task_idle, None);
    }

    #[test]
    fn the_loopback_is_left_only_when_told() {
        let error = config("http.listen = '0.0.0.0:9464'").unwrap_err();
        assert!(error.contains("http.allow.remote = true"), "{error}");
        assert!(config("http.listen = '0.0.0.0:9464'\nhttp.allow.remote = true").is_ok());
        let error = config("join.when.warm = true").unwrap_err();
        assert!(error.contains("standby.replicas"), "{error}");
        assert!(config("join.when.warm = true\nstandby.replicas = 1").is_ok());
        assert!(config("http.listen = 'off'").unwrap().http.listen.is_none());
    }

    #[test]
    fn a_certificate_comes_with_its_key() {
        let both = config("[http.tls]\ncertificate = 'c.pem'\nkey = 'k.pem'").unwrap().http.tls;
        let files = |authorities| TlsFiles {
            certificate: "c.pem".into(),
            key: "k.pem".into(),
            authorities,
        };
        assert_eq!(both, Some(files(None)));
        let judged = "[http.tls]\ncertificate = 'c.pem'\nkey = 'k.pem'\nca = 'ca.pem'";
        assert_eq!(config(judged).unwrap().http.tls, Some(files(Some("ca.pem".into()))));
        for (alone, missing) in [
            ("http.tls.certificate = 'c.pem'", "private key in http.tls.key"),
            ("http.tls.key = 'k.pem'", "in http.tls.certificate"),
            ("http.tls.ca = 'ca.pem'", "http.tls.certificate and http.tls.key"),
        ] {
            let error = config(alone).unwrap_err();
            assert!(error.contains(missing), "{error}");
        }
    }

    #[test]
    fn values_that_contradict_each_other_are_reported_together() {
        let error =
            config("commit.interval.ms = 20000\nheartbeat.interval.ms = 20000").unwrap_err();
        assert!(error.contains("2 problems"), "{error}");
        assert!(
            error.contains("default: `transaction.timeout.ms` is 10000, but must be"),
            "{error}"
        );
        assert!(error.contains("t.toml:4: `heartbeat.interval.ms` is 20000, but must"), "{error}");
    }

    #[test]
    fn a_config_shown_by_debug_hides_its_secrets() {
        let text = "[kafka]\nsasl.password = 'hunter2'\n[http]\ntoken = 'hunter3'";
        let shown = format!("{:?}", config(text).unwrap());
        assert!(!shown.contains("hunter"), "{shown}");
    }
}
