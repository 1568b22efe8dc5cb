//! A running instance, and the handle by which others stop it, show it and ask its stores.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use tidemill_topology::error::Error as TopologyError;
use tidemill_topology::graph::Topology;
use tidemill_topology::handler::{HandlerDecision, Handlers};
use tidemill_topology::node::SinkTopic;

use super::control::{Control, Links, Order};
use super::error::RuntimeError;
use super::instance::Instance;
use super::membership::Member;
use super::memory_bound::fetch_properties;
use super::observe::{Phase, Shared};
use super::query::{Entries, LocalStore, StoreQuery};
use super::restore_listener::Hooks;
use super::stop::STOPPING;
use crate::config::{Config, HandlerChoice, Optimization};
use crate::kafka::{Cluster, Librdkafka};
use crate::status::{Introspect, QueryError};

/// How often [`Streams::join`] looks whether the instance has ended.
const JOIN_LOOK: Duration = Duration::from_millis(20);

/// A running instance of a topology.
///
/// ```no_run
/// use tidemill::config::Config;
/// use tidemill::prelude::*;
/// use tidemill::runtime::Streams;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let builder = StreamsBuilder::new();
/// builder
///     .stream("words", Consumed::with(Utf8, Utf8))
///     .group_by(|_, word| word.clone(), Grouped::with(Utf8, Utf8))
///     .count(Materialized::named("counts", I64))
///     .to_stream()
///     .to("counts", Produced::with(Utf8, Nullable(I64)));
/// let config = Config::from_toml("inline", r#"
///     application.id = "word-count"
///     bootstrap.servers = "127.0.0.1:9092"
///     state.dir = "/tmp/word-count"
/// "#)?;
/// Streams::start(builder.build()?, &config)?.join()?;
/// # Ok(())
/// # }
/// ```
pub struct Streams {
    shared: Arc<Shared>,
    links: Arc<Links>,
    control: JoinHandle<Result<(), RuntimeError>>,
}

/// Handles a running instance from other threads: stops it, shows it, asks its stores.
#[derive(Clone)]
pub struct StreamsHandle {
    shared: Arc<Shared>,
    links: Arc<Links>,
}

impl StreamsHandle {
    /// Tells the instance to stop; [`Streams::join`] waits for it.
    pub fn stop(&self) {
        self.links.stop.tell(Instant::now());
        self.shared.set_phase(Phase::Stopping);
        self.links.wake_all();
    }

    /// Starts one more stream thread, which joins the group and gets its share of the tasks. Its
    /// name; `None` when the instance does not run (yet, or any more).
    #[must_use]
    pub fn add_thread(&self) -> Option<String> {
        self.links.order(Order::Add)
    }

    /// Ends the stream thread that was started last: it commits, closes its tasks and leaves the
    /// group, which gives them to others. Waits until it is gone and says which it was; `None` when
    /// only one is left, or the instance does not run.
    #[must_use]
    pub fn remove_thread(&self) -> Option<String> {
        self.links.order(Order::Remove)
    }

    /// Pauses the instance: it processes no record and fires no punctuation until
    /// [`resume`](Self::resume). It stays a member of the group with its tasks, so that no other
    /// instance takes them over, restores those that come, and answers queries. What was processed
    /// is committed. Nothing of it is remembered over a restart, or known to other instances.
    ///
    /// ```no_run
    /// # use tidemill::runtime::StreamsHandle;
    /// # fn maintain(streams: &StreamsHandle, work: impl Fn()) {
    /// streams.pause();
    /// work(); // the database that the results go to, say
    /// streams.resume();
    /// # }
    /// ```
    pub fn pause(&self) {
        self.links.paused.store(true, Ordering::Relaxed);
        self.links.wake_all();
    }

    /// Goes on after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.links.paused.store(false, Ordering::Relaxed);
        self.links.wake_all();
    }

    /// Whether it was told to pause.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.links.paused.load(Ordering::Relaxed)
    }

    /// All instances of the application that are known, this one among them: their addresses, their
    /// tasks, and the copies that they keep.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.shared.members.members(Instant::now())
    }

    /// Says under which address (`host:port`) this instance's HTTP server is reached; others learn
    /// of it. An address that is configured as `http.advertised` stays.
    pub fn advertise(&self, host: &str) {
        self.shared.advertise(host);
    }

    /// What the instance shows of itself.
    #[must_use]
    pub fn introspect(&self) -> Arc<dyn Introspect> {
        self.shared.clone()
    }

    /// The instance's metrics registry, for series of the application's own.
    #[must_use]
    pub fn metrics(&self) -> &crate::metrics::Metrics {
        &self.shared.metrics
    }

    /// The committed entries of a store whose keys' bytes lie in `from..to`, at most `limit` of
    /// them, in order and of one commit, in the partition that a record with this key has:
    /// for stores whose keys are not those of the records.
    ///
    /// # Errors
    /// When that partition is not on this instance, or cannot be read at present.
    pub fn scan(
        &self,
        store: &str,
        record_key: &[u8],
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Entries, QueryError> {
        let store = LocalStore::new(self.shared.stores(), store)?;
        store.scan(store.partition_of(record_key)?, from, to, limit)
    }

    /// The committed state of a store, as far as it is on this instance: to be asked for keys,
    /// ranges, windows and more, as often as one likes, while the instance runs.
    ///
    /// ```no_run
    /// # use tidemill::runtime::StreamsHandle;
    /// # fn ask(streams: &StreamsHandle) -> Result<(), tidemill::status::QueryError> {
    /// let counts = streams.store::<String, i64>("counts")?;
    /// println!("seen {:?} times", counts.get(&"tide".to_owned())?);
    /// for entry in counts.prefix(b"mill").reverse().entries() {
    ///     let entry = entry?;
    ///     println!("{} {}", entry.key, entry.value);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the topology has no such store, or it holds other types.
    pub fn store<K: 'static, V: 'static>(
        &self,
        name: &str,
    ) -> Result<StoreQuery<K, V>, QueryError> {
        StoreQuery::new(LocalStore::new(self.shared.stores(), name)?, self.shared.stores())
    }
}

impl Streams {
    /// Starts an instance on the Kafka cluster of the configuration, with the error handlers that
    /// it names.
    ///
    /// # Errors
    /// When the state directory cannot be used. Whatever the cluster says comes out of
    /// [`join`](Self::join).
    pub fn start(topology: Topology, config: &Config) -> Result<Self, RuntimeError> {
        Self::start_with(topology, config, handlers(config))
    }

    /// As [`start`](Self::start), with handlers of one's own, or a listener for restores.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(
        topology: Topology,
        config: &Config,
        hooks: impl Into<Hooks>,
    ) -> Result<Self, RuntimeError> {
        let cluster = Librdkafka::new(properties(config))?;
        Self::start_on(cluster, topology, config, hooks)
    }

    /// As [`start_with`](Self::start_with), on any cluster.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_on<C: Cluster>(
        cluster: C,
        topology: Topology,
        config: &Config,
        hooks: impl Into<Hooks>,
    ) -> Result<Self, RuntimeError> {
        let instance = Instance::new(cluster, topology, config, hooks)?;
        let shared = Arc::clone(instance.shared());
        let links = Arc::new(Links::new(instance.stop(), instance.paused()));
        let control = Control::new(instance, Arc::clone(&links));
        let control =
            Builder::new().name("tidemill-control".to_owned()).spawn(move || control.run());
        let control = control
            .map_err(|error| RuntimeError::ThreadDied(format!("tidemill-control ({error})")))?;
        Ok(Self { shared, links, control })
    }

    /// Handles the instance from elsewhere.
    #[must_use]
    pub fn handle(&self) -> StreamsHandle {
        StreamsHandle { shared: self.shared.clone(), links: self.links.clone() }
    }

    /// Waits until the instance has stopped. Once it was told to, that takes no longer than 20
    /// seconds: a thread that still works then, since its brokers do not answer or code of the
    /// topology does not return, is left to itself, and what it has not committed is aborted.
    ///
    /// # Errors
    /// What ended it, if it was not told to stop; [`RuntimeError::StillStopping`] when a thread was
    /// left to itself.
    pub fn join(self) -> Result<(), RuntimeError> {
        while !self.control.is_finished() {
            if self.links.stop.told_at().is_some_and(|told| told.elapsed() >= STOPPING) {
                return Err(RuntimeError::StillStopping { seconds: STOPPING.as_secs() });
            }
            std::thread::sleep(JOIN_LOOK);
        }
        match self.control.join() {
            Ok(result) => result,
            Err(_) => Err(RuntimeError::ThreadDied("tidemill-control".to_owned())),
        }
    }
}

/// What a configuration means for librdkafka; the user's own properties win.
#[must_use]
pub fn properties(config: &Config) -> BTreeMap<String, String> {
    let kafka = &config.kafka;
    let millis = |duration: Duration| duration.as_millis().to_string();
    let mut properties = BTreeMap::from(
        [
            ("bootstrap.servers", kafka.bootstrap_servers.clone()),
            ("consumer.session.timeout.ms", millis(kafka.session_timeout)),
            ("consumer.heartbeat.interval.ms", millis(kafka.heartbeat_interval)),
            ("consumer.max.poll.interval.ms", millis(kafka.max_poll_interval)),
            ("producer.transaction.timeout.ms", millis(kafka.transaction_timeout)),
            ("producer.retry.backoff.ms", millis(kafka.retry_backoff)),
            ("producer.retry.backoff.max.ms", millis(kafka.retry_backoff_max)),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    properties.extend(fetch_properties(config));
    // A prefix would beat what was set without one.
    properties.retain(|name, _| {
        let bare = name.split_once('.').map_or(name.as_str(), |(_, bare)| bare);
        kafka.properties.get(bare).is_none()
    });
    properties
        .extend(kafka.properties.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
    properties
}

/// The topology with the optimization and the caching that a configuration asks for: what an instance
/// runs.
///
/// # Errors
/// When the topology was built with another one.
pub fn optimized(topology: Topology, config: &Config) -> Result<Topology, TopologyError> {
    let topology = match config.runtime.optimization {
        Optimization::None => topology,
        Optimization::All => topology.optimized()?,
    };
    Ok(if config.state.cache_max_bytes == 0 { topology.without_caching() } else { topology })
}

/// The error handlers that a configuration names.
#[must_use]
pub fn handlers(config: &Config) -> Handlers {
    let decide = |choice: HandlerChoice| match choice {
        HandlerChoice::Fail => HandlerDecision::Fail,
        HandlerChoice::Continue => HandlerDecision::Continue,
    };
    let (read, run, write) = (
        decide(config.errors.deserialization),
        decide(config.errors.processing),
        decide(config.errors.production),
    );
    Handlers {
        deserialization: Arc::new(move |_, _| read),
        processing: Arc::new(move |_, _, _| run),
        production: Arc::new(move |_, _, _| write),
        dead_letter_topic: config
            .errors
            .dead_letter_topic
            .as_ref()
            .map(|topic| SinkTopic { name: topic.as_str().into(), internal: false }),
    }
}
