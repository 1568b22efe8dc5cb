//! `tidemill replay`: the exchange's topology over a file of orders, without Kafka.

use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tidemill::config::Config;
use tidemill::driver::{DriverError, InputRecord, LocalInput, LocalRunner, RunnerSettings};
use tidemill::exchange::{
    BOOKS, Books, MetricsSlot, books_csv, exchange_handlers, exchange_topology,
};
use tidemill::runtime::{handlers, optimized};
use tidemill_topology::error::{Error as TopologyError, ErrorKind};
use tidemill_topology::node::Outgoing;
use tidemill_topology::prelude::{Headers, Timestamp};

use super::args::ReplayArgs;
use super::failure::Failure;
use super::logging;
use super::output;
use super::progress::Progress;
use super::record_lines::{LineReader, parse};
use super::replay_output::ReplayOutput;
use super::scratch_folder::ScratchFolder;
use super::sources::Sources;

/// Records between two commits. Counted, not timed, so that the same file gives the same output.
const COMMIT_RECORDS: u64 = 10_000;
/// Records between two looks at the progress.
const SHOW_RECORDS: u64 = 4_096;

/// Runs the file's records through the topology and sums up.
///
/// # Errors
/// A configuration that cannot be used, a file that cannot be read or written.
pub fn replay(sources: &Sources, args: &ReplayArgs) -> Result<(), Failure> {
    let presets = [
        ("application.id", "tidemill-replay"),
        // No broker is ever asked.
        ("bootstrap.servers", "none"),
        ("log.level", "warn"),
    ];
    let config = sources.with_presets("replay", &presets).config()?;
    logging::start(&config.log)?;
    replay_file(&config, args)
}

/// Replays `args.file` under `config`.
fn replay_file(config: &Config, args: &ReplayArgs) -> Result<(), Failure> {
    let mut orders = LineReader::open(&args.file)?;
    let scratch = match &args.state_dir {
        Some(_) => None,
        None => Some(ScratchFolder::new("replay")?),
    };
    let state = args.state_dir.as_deref();
    let state = state.or(scratch.as_ref().map(ScratchFolder::path));
    let mut replay = Replay {
        runner: start_runner(config, state)?,
        output: ReplayOutput::new(&config.exchange.topics, args.out.as_deref())?,
        now: now(),
    };
    let topics = &config.exchange.topics;
    if let Some(assets) = &args.assets {
        let input = replay.runner.input(&topics.assets).map_err(failed)?;
        replay.read(&mut LineReader::open(assets)?, input, keyed_by_asset)?;
    }
    let input = replay.runner.input(&topics.orders).map_err(failed)?;
    let started = Instant::now();
    let orders = replay.read(&mut orders, input, |_| None)?;
    let seconds = started.elapsed().as_secs_f64();
    let summary = Summary { orders, seconds, records: replay.finish(args.out.is_some())? };
    summary.show(args)
}

fn start_runner(config: &Config, state: Option<&Path>) -> Result<LocalRunner, Failure> {
    let topology = exchange_topology(&config.exchange, &MetricsSlot::default());
    let topology =
        topology.and_then(|topology| optimized(topology, config)).map_err(Failure::failed)?;
    let settings = RunnerSettings {
        application_id: config.application_id.clone(),
        handlers: Arc::new(exchange_handlers(&config.exchange, &handlers(config))),
        wall_clock: now(),
        directory: state.map(Path::to_owned),
        memory_bytes: usize::try_from(config.state.memory_bytes).unwrap_or(usize::MAX),
        ..RunnerSettings::default()
    };
    LocalRunner::new(&topology, settings).map_err(failed)
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp::new(since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
}

/// The key of a bare asset: its own id.
fn keyed_by_asset(value: &[u8]) -> Option<Vec<u8>> {
    let fields: Value = serde_json::from_slice(value).ok()?;
    Some(fields.get("asset_id")?.as_str()?.as_bytes().to_vec())
}

/// The topology at work, and where its records go.
struct Replay {
    runner: LocalRunner,
    output: ReplayOutput,
    /// Timestamp of records that have none: one for the whole run.
    now: Timestamp,
}

impl Replay {
    /// Feeds every line to a topic. `key` finds the key of a record that came without.
    /// Says how many records there were.
    fn read(
        &mut self,
        lines: &mut LineReader,
        input: LocalInput,
        key: impl Fn(&[u8]) -> Option<Vec<u8>>,
    ) -> Result<u64, Failure> {
        let progress = match lines.length() {
            Some(length) => Progress::towards("replay", length),
            None => Progress::open_ended("replay"),
        };
        let started = Instant::now();
        let mut records = 0;
        while let Some(line) = lines.next_line()? {
            let line = parse(line);
            let own = match (&line.key, &line.value) {
                (None, Some(value)) => key(value),
                _ => None,
            };
            let record = InputRecord {
                key: line.key.as_deref().or(own.as_deref()),
                value: line.value.as_deref(),
                timestamp: line.timestamp.map_or(self.now, Timestamp::new),
                headers: Headers::none(),
            };
            let output = &mut self.output;
            self.runner
                .process(input, &record, &mut |record| put(output, &record))
                .map_err(failed)?;
            records += 1;
            if records % SHOW_RECORDS == 0 {
                let rate = records as f64 / started.elapsed().as_secs_f64();
                progress.set(lines.consumed());
                progress.say(format!("{records} records, {rate:.0}/s"));
            }
            if records % COMMIT_RECORDS == 0 {
                self.commit()?;
            }
        }
        self.commit()?;
        Ok(records)
    }

    fn commit(&mut self) -> Result<(), Failure> {
        let output = &mut self.output;
        self.runner.commit(&mut |record| put(output, &record)).map_err(failed)
    }

    /// Writes the books and what is buffered. Says how many records each topic got.
    fn finish(mut self, with_books: bool) -> Result<Vec<(String, u64)>, Failure> {
        if with_books {
            let entries = self.runner.entries::<Vec<u8>, Vec<u8>>(BOOKS);
            let entries = entries.map_err(failed)?;
            let entries = entries.into_iter().map(|entry| (entry.key, entry.value));
            let books = Books::restore(entries).map_err(Failure::failed)?;
            self.output.write_beside("books.csv", &books_csv(&books))?;
        }
        self.runner.close().map_err(failed)?;
        self.output.finish()
    }
}

/// Hands a record to the output; what cannot be written ends the replay.
fn put(output: &mut ReplayOutput, record: &Outgoing<'_>) -> Result<(), TopologyError> {
    output.take(record).map_err(|error| {
        TopologyError::new(ErrorKind::Send {
            topic: record.topic.name.to_string(),
            cause: error.into(),
        })
    })
}

/// The failure of a run; an output that cannot be written is one of the file system.
fn failed(error: DriverError) -> Failure {
    match error {
        DriverError::Topology(error) => match error.into_kind() {
            ErrorKind::Send { topic, cause } => match cause.downcast::<std::io::Error>() {
                Ok(source) => {
                    Failure::Io { what: format!("write the records of {topic}"), source: *source }
                }
                Err(cause) => Failure::failed(TopologyError::new(ErrorKind::Send { topic, cause })),
            },
            kind => Failure::failed(TopologyError::new(kind)),
        },
        other => Failure::failed(other),
    }
}

/// What a replay did.
struct Summary {
    orders: u64,
    seconds: f64,
    /// By topic.
    records: Vec<(String, u64)>,
}

impl Summary {
    fn orders_per_second(&self) -> f64 {
        self.orders as f64 / self.seconds.max(1e-9)
    }

    /// Shows the summary: on standard output, or, where that has the trades, on standard error.
    fn show(&self, args: &ReplayArgs) -> Result<(), Failure> {
        let text = if args.json { self.as_json() } else { self.as_text(args.out.as_deref()) };
        if args.out.is_some() {
            return output::write(&text);
        }
        eprint!("{text}");
        Ok(())
    }

    fn as_json(&self) -> String {
        let records: serde_json::Map<String, Value> =
            self.records.iter().map(|(topic, count)| (topic.clone(), json!(count))).collect();
        let summary = json!({
            "orders": self.orders,
            "seconds": self.seconds,
            "orders_per_second": self.orders_per_second(),
            "records": records,
        });
        format!("{summary:#}\n")
    }

    fn as_text(&self, out: Option<&Path>) -> String {
        let records: Vec<String> =
            self.records.iter().map(|(topic, count)| format!("{topic} {count}")).collect();
        let place = out.map_or_else(String::new, |out| format!(" Written to {}.", out.display()));
        format!(
            "{} orders in {:.2} s: {:.0} orders/s. Records: {}.{place}\n",
            self.orders,
            self.seconds,
            self.orders_per_second(),
            records.join(", "),
        )
    }
}
