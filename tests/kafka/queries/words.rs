//! An application that counts words: in all, by ten minutes, by session, and their last reading.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tidemill::config::Config;
use tidemill::http::Server;
use tidemill::prelude::*;
use tidemill::runtime::{Streams, StreamsHandle};
use tidemill::status::Introspect;
use tidemill_test_support::patience::wait_for;
use tidemill_test_support::process::http_get;
use tidemill_test_support::records::{Outgoing, create_topic, produce};
use tidemill_test_support::{KafkaCluster, unique};
use tokio::runtime::Runtime;

/// How long anything may take.
pub const LIMIT: Duration = Duration::from_secs(60);

/// When the first word is said, in milliseconds since 1970: the start of a window of ten minutes.
pub const START: i64 = 1_699_999_800_000;

/// The application's topics on a cluster.
pub struct Words {
    bootstrap: String,
    /// Name of the application and of its topic.
    pub name: String,
    folder: TempDir,
}

/// An instance, with HTTP beside it.
pub struct Instance {
    streams: Option<Streams>,
    /// Handles it.
    pub handle: StreamsHandle,
    server: Option<Server>,
    runtime: Runtime,
}

impl Words {
    /// A new application whose topic has so many partitions.
    pub fn new(partitions: i32) -> Self {
        let bootstrap = KafkaCluster::shared().bootstrap();
        let name = unique("words");
        create_topic(&bootstrap, &name, partitions, &[]);
        Self { bootstrap, name, folder: tempfile::tempdir().expect("a folder") }
    }

    fn topology(&self) -> Topology {
        let builder = StreamsBuilder::new();
        let words = builder.stream(&self.name, Consumed::with(Utf8, Utf8));
        let grouped = || words.group_by_key(Grouped::with(Utf8, Utf8));
        grouped().count(Materialized::named("counts", I64));
        grouped()
            .windowed_by(TimeWindows::of(Duration::from_secs(600)).grace(Duration::from_secs(3600)))
            .count(Materialized::named("by-time", I64));
        grouped()
            .windowed_by(
                SessionWindows::of(Duration::from_secs(60)).grace(Duration::from_secs(3600)),
            )
            .count(Materialized::named("sessions", I64));
        builder.build().expect("a topology")
    }

    /// The cluster's address.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Starts an instance.
    pub fn start(&self, instance: &str, settings: &[(&str, &str)]) -> Instance {
        let state: PathBuf = self.folder.path().join(instance);
        let state = state.to_str().expect("a path of letters").to_owned();
        let mut all = BTreeMap::from([
            ("application.id", self.name.as_str()),
            ("bootstrap.servers", self.bootstrap.as_str()),
            ("instance.id", instance),
            ("state.dir", state.as_str()),
            ("auto.offset.reset", "earliest"),
        ]);
        all.extend(settings.iter().copied());
        let text: String = all.iter().map(|(key, value)| format!("{key} = {value:?}\n")).collect();
        let config = Config::from_toml("words.toml", &text).expect("settings that are right");
        let streams = Streams::start(self.topology(), &config).expect("an instance");
        let handle = streams.handle();
        let runtime = Runtime::new().expect("a runtime");
        let any_port: SocketAddr = ([127, 0, 0, 1], 0).into();
        let server = Server::start(&config.http, any_port, handle.introspect(), Vec::new());
        let server = runtime.block_on(server).expect("a free port");
        handle.advertise(&server.address().to_string());
        Instance { streams: Some(streams), handle, server: Some(server), runtime }
    }

    /// Sends words at these times, in milliseconds since 1970.
    pub fn say<'w>(&self, words: impl IntoIterator<Item = (&'w str, i64)>) {
        let records = words.into_iter().map(|(word, time)| Outgoing::keyed(word, "said").at(time));
        produce(&self.bootstrap, &self.name, records);
    }
}

impl Instance {
    /// Waits until every task that it was given runs.
    pub fn wait_ready(&self) {
        let introspect: Arc<dyn Introspect> = self.handle.introspect();
        wait_for("an instance that is ready", LIMIT, || introspect.status().ready.then_some(()));
    }

    /// Where its HTTP listens.
    pub fn address(&self) -> String {
        self.server.as_ref().expect("it runs").address().to_string()
    }

    /// Status and JSON of an address.
    pub fn get(&self, path: &str) -> (u16, serde_json::Value) {
        let (status, body) = http_get(&self.address(), path).expect("an answer");
        (status, serde_json::from_str(&body).expect("JSON"))
    }

    /// Commits, leaves and ends.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.handle.stop();
        if let Some(streams) = self.streams.take() {
            streams.join().expect("an end in peace");
        }
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.stop());
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.end();
        }
    }
}
