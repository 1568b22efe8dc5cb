//! One exchange on a broker: topics, application and state folders of its own, and the `tidemill`
//! instances that run it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::Value;
use tempfile::TempDir;
use tidemill_test_support::patience::wait_for;
use tidemill_test_support::process::http_get;
use tidemill_test_support::records::{committed, create_topic, topics, watermarks};
use tidemill_test_support::{Tidemill, unique};

/// Longer than anything takes that is not measured.
pub const LIMIT: Duration = Duration::from_secs(90);

/// Records of 1 MiB, with what a batch adds to them.
const LARGE_RECORDS: (&str, &str) = ("max.message.bytes", "4194304");

/// The topics of an exchange by the names that the exchange's settings have for them.
const TOPICS: [&str; 7] =
    ["orders", "assets", "trades", "order-updates", "candles", "positions", "orders-dlq"];

/// An exchange of its own on a broker that others use too.
pub struct Market {
    bootstrap: String,
    application: String,
    folder: TempDir,
}

impl Market {
    /// Creates the topics; orders and assets get that many partitions.
    pub fn open(bootstrap: &str, partitions: i32) -> Self {
        let market = Self::without_topics(bootstrap);
        for name in TOPICS {
            let partitions = if matches!(name, "orders" | "assets") { partitions } else { 1 };
            create_topic(bootstrap, &market.topic(name), partitions, &[LARGE_RECORDS]);
        }
        market
    }

    /// An exchange whose topics do not exist.
    pub fn without_topics(bootstrap: &str) -> Self {
        Self {
            bootstrap: bootstrap.to_owned(),
            application: unique("exchange"),
            folder: TempDir::with_prefix("tidemill-exchange-").expect("a temporary folder"),
        }
    }

    /// The broker's address.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The application's id, which is also its group's.
    pub fn application(&self) -> &str {
        &self.application
    }

    /// The full name of one of the exchange's topics.
    pub fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.application)
    }

    /// The folder in which the instance of that name keeps its state.
    pub fn state(&self, instance: &str) -> PathBuf {
        self.folder.path().join(instance)
    }

    /// A folder of this exchange that goes when it goes.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The settings of an instance: those of this exchange, then `more`, which win.
    pub fn settings(&self, instance: &str, more: &[(&str, &str)]) -> BTreeMap<String, String> {
        let own = [
            ("bootstrap.servers".to_owned(), self.bootstrap.clone()),
            ("application.id".to_owned(), self.application.clone()),
            ("state.dir".to_owned(), self.state(instance).display().to_string()),
            ("http.listen".to_owned(), "127.0.0.1:0".to_owned()),
        ];
        let topics = TOPICS.map(|name| (format!("exchange.topics.{name}"), self.topic(name)));
        let more = more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        own.into_iter().chain(topics).chain(more).collect()
    }

    /// `tidemill` with the settings of an instance; the subcommand is the caller's.
    pub fn command(&self, instance: &str, more: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
        for (key, value) in self.settings(instance, more) {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        command
    }

    /// Starts an instance, which keeps its state in a folder of its name.
    pub fn start(&self, instance: &str, more: &[(&str, &str)]) -> Running {
        let started = Instant::now();
        let process = Tidemill::spawn(self.command(instance, more).arg("run"));
        Running { process, started, address: None }
    }

    /// Starts an instance and waits until all its tasks run.
    pub fn start_ready(&self, instance: &str, more: &[(&str, &str)]) -> Running {
        let mut running = self.start(instance, more);
        running.wait_ready();
        running
    }

    /// Waits until every record of the orders, and all that follows from them, is processed and
    /// committed.
    pub fn wait_processed(&self) {
        // In the order of the records' way: once a topic is worked off, what its records became
        // lies in the next one.
        let internal = ["orders-by-asset", "positions-by-holder"];
        let internal = internal.map(|name| format!("{}-{name}-repartition", self.application));
        for topic in [self.topic("orders")].into_iter().chain(internal) {
            wait_for(&format!("the group to commit the end of {topic}"), LIMIT, || {
                let done = committed(&self.bootstrap, &self.application, &topic);
                let ends = watermarks(&self.bootstrap, &topic);
                let is_done = |(done, (_, end)): (&Option<i64>, &(i64, i64))| {
                    *end == 0 || done.is_some_and(|done| done >= *end)
                };
                done.iter().zip(&ends).all(is_done).then_some(())
            });
        }
    }

    /// Waits until that many orders, or markers behind them, lie in the repartition topic.
    pub fn wait_repartitioned(&self, records: i64) {
        let topic = format!("{}-orders-by-asset-repartition", self.application);
        wait_for(&format!("{records} records in {topic}"), LIMIT, || {
            let end: i64 = watermarks(&self.bootstrap, &topic).iter().map(|(_, end)| end).sum();
            (end >= records).then_some(())
        });
    }

    /// Waits until no open transaction hides any output: one that a killed instance left ends when
    /// its time is over, or with the next instance of that name.
    pub fn wait_visible(&self) {
        let reader: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("isolation.level", "read_committed")
            .create()
            .expect("a consumer");
        for name in ["trades", "order-updates", "candles", "positions", "orders-dlq"] {
            let topic = self.topic(name);
            wait_for(&format!("the open transactions of {topic} to end"), LIMIT, || {
                let end = watermarks(&self.bootstrap, &topic)[0].1;
                let (_, stable_end) = reader.fetch_watermarks(&topic, 0, LIMIT).ok()?;
                (stable_end == end).then_some(())
            });
        }
    }

    /// How many records the changelogs of the application hold, markers included.
    pub fn changelog_records(&self) -> u64 {
        let names = topics(&self.bootstrap, &self.application);
        let changelogs = names.iter().filter(|name| name.ends_with("-changelog"));
        let records = changelogs.flat_map(|name| watermarks(&self.bootstrap, name));
        records.map(|(first, end)| (end - first) as u64).sum()
    }
}

/// A `tidemill run` that was started.
pub struct Running {
    /// The process.
    pub process: Tidemill,
    /// When it was started.
    pub started: Instant,
    address: Option<String>,
}

impl Running {
    /// Where it serves HTTP, once it does.
    pub fn address(&mut self) -> String {
        if let Some(address) = &self.address {
            return address.clone();
        }
        let line = self.process.wait_for_log("serving HTTP", LIMIT);
        let address = line.rsplit("address=").next().unwrap_or_default();
        let address = address.split_whitespace().next().unwrap_or_default().to_owned();
        self.address = Some(address.clone());
        address
    }

    /// Waits until all its tasks run.
    pub fn wait_ready(&mut self) {
        let address = self.address();
        self.process.wait_for_http(&address, "/readyz", 200, LIMIT);
    }

    /// `GET path`: the status and the body.
    pub fn get(&mut self, path: &str) -> (u16, String) {
        let address = self.address();
        http_get(&address, path).unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// `GET path` as JSON.
    pub fn json(&mut self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "GET {path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    /// The ids of its tasks that run, sorted.
    pub fn running_tasks(&mut self) -> Vec<String> {
        let status = self.json("/tasks");
        let tasks = status["tasks"].as_array().expect("a list of tasks");
        let running = tasks.iter().filter(|task| task["state"] == "running");
        let mut ids: Vec<String> =
            running.map(|task| task["id"].as_str().expect("an id").to_owned()).collect();
        ids.sort();
        ids
    }

    /// Changelog records that it read to restore its stores, by its log.
    pub fn restored(&self) -> u64 {
        let log = self.process.log();
        let lines =
            log.lines().filter(|line| line.contains(" restored ") && line.contains("task="));
        lines.filter_map(|line| line.split("records=").nth(1)).map(leading_number).sum()
    }

    /// SIGTERM: it must end in order, within the time that a stop may take and some more for a busy
    /// machine.
    pub fn stop(&mut self) {
        let status = self.process.terminate(Duration::from_secs(40));
        assert!(status.success(), "ended with {status}:\n{}", self.process.log());
    }
}

fn leading_number(text: &str) -> u64 {
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("no number in {text:?}"))
}
