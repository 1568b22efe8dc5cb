//! A soak: one instance of the exchange at a steady rate for a long time, looked at through its own
//! metrics. Memory, open files and latency have to stay where they were; what was seen is drawn into
//! `docs/soak.md`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidemill_test_support::KafkaCluster;
use tidemill_test_support::metrics::{samples as values, total};
use tidemill_test_support::process::http_get;
use tidemill_test_support::records::create_topic;

use crate::chart::Chart;
use crate::field::{self, Application};
use crate::fleet::{Instance, Program};
use crate::load::{InputTopics, Load, Rates};

/// How often the metrics are read.
const EVERY: Duration = Duration::from_secs(5);
/// How many of them there are to a line that says how far it is.
const A_LINE: usize = 12;
/// The part of the run in which caches, buffers and the first level of each store fill, and which is
/// not compared.
const WARM_UP: f64 = 0.5;
/// What the later part of a run may have more than the earlier one.
const MEMORY_MAY_GROW: f64 = 1.10;
const LATENCY_MAY_GROW: f64 = 1.5;
const FILES_MAY_GROW: f64 = 8.0;
const HEAP_MIB: u32 = 512;
const PARTITIONS: i32 = 4;

/// What the metrics said at one moment.
#[derive(Clone, Debug)]
struct Sample {
    /// Since the load began, in seconds.
    at: f64,
    memory_mib: f64,
    files: f64,
    /// Records whose age at their commit was measured, by the upper bound of their bucket in
    /// seconds, since the start.
    ages: BTreeMap<u64, f64>,
    /// Ages measured per second since the sample before.
    rate: f64,
    /// Median and 99th percentile of the age at commit since the sample before, in milliseconds.
    latency: (f64, f64),
}

/// Soaks for a time at so many orders a second.
pub fn run(length: Duration, rate: u32) -> ExitCode {
    println!("soak: {} s at {rate} orders/s", length.as_secs());
    let cluster = KafkaCluster::start_with(1, HEAP_MIB, &[]);
    let exchange = Application::Exchange;
    for topic in field::exchange_topics() {
        create_topic(&cluster.bootstrap(), &topic, PARTITIONS, &[]);
    }
    let folder = TempDir::with_prefix("tidemill-soak-").expect("a temporary folder");
    let mut settings = field::settings(&cluster.bootstrap(), exchange);
    // The bound is reached soon, so that what grows beyond it is seen.
    settings.insert("state.memory.bytes".to_owned(), (16 << 20).to_string());
    // One broker has time for the commits of an instance as it comes.
    settings.remove("commit.interval.ms");
    settings.remove("kafka.fetch.wait.max.ms");
    let mut instance =
        Instance::new("soak-1".to_owned(), Program::Exchange, settings, folder.path());
    instance.start();
    instance.wait_ready();
    let address = instance.address();

    let is_over = AtomicBool::new(false);
    let nothing = format!("{}.nothing", exchange.id());
    let topics = InputTopics {
        orders: format!("{}.orders", exchange.id()),
        views: nothing.clone(),
        clicks: nothing,
    };
    let load = Load::new(&cluster.bootstrap(), topics, Rates { orders: rate, views: 0 }, 1);
    let samples = thread::scope(|scope| {
        scope.spawn(|| load.run(|| is_over.load(Ordering::Relaxed)));
        let started = Instant::now();
        let mut samples: Vec<Sample> = Vec::new();
        while started.elapsed() < length {
            thread::sleep(EVERY);
            // A scrape that fails is a gap in the curve.
            if let Ok((200, text)) = http_get(&address, "/metrics") {
                let at = started.elapsed().as_secs_f64();
                let sample = Sample::read(&text, at, samples.last());
                if samples.len() % A_LINE == A_LINE - 1 {
                    println!("{:6.0} s of {}  {}", at, length.as_secs(), sample.words());
                }
                samples.push(sample);
            }
        }
        is_over.store(true, Ordering::Relaxed);
        samples
    });
    instance.stop();
    let verdict = Verdict::of(&samples);
    print!("{verdict_text}", verdict_text = verdict.text);
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    write_down(&docs, &samples, &verdict, length, rate).expect("the documents can be written");
    println!("written to {}", docs.join("soak.md").display());
    if verdict.is_flat { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Sample {
    fn words(&self) -> String {
        format!(
            "{:.0} MiB, {:.0} open files, age at commit {:.0} ms, p99 {:.0} ms",
            self.memory_mib, self.files, self.latency.0, self.latency.1
        )
    }

    fn read(metrics: &str, at: f64, before: Option<&Self>) -> Self {
        let gauge = |name: &str| total(metrics, name);
        let mut ages: BTreeMap<u64, f64> = BTreeMap::new();
        for (labels, value) in values(metrics, "tidemill_record_age_seconds_bucket") {
            if label(labels, "stage") != Some("committed") {
                continue;
            }
            let bound = label(labels, "le").and_then(|bound| bound.parse::<f64>().ok());
            let millis = bound
                .filter(|bound| bound.is_finite())
                .map_or(u64::MAX, |bound| (bound * 1e3) as u64);
            *ages.entry(millis).or_default() += value;
        }
        let none = BTreeMap::new();
        let earlier = before.map_or(&none, |before| &before.ages);
        let count = |bound: &u64| ages[bound] - earlier.get(bound).copied().unwrap_or_default();
        let all = ages.keys().next_back().map_or(0.0, count);
        let quantile = |part: f64| {
            let bound = ages.keys().find(|bound| count(bound) >= part * all);
            bound.map_or(0.0, |bound| *bound as f64)
        };
        let latency = if all > 0.0 { (quantile(0.5), quantile(0.99)) } else { (0.0, 0.0) };
        let since = at - before.map_or(0.0, |before| before.at);
        let rate = all / since;
        Self {
            at,
            memory_mib: gauge("process_resident_memory_bytes") / f64::from(1 << 20),
            files: gauge("process_open_fds"),
            rate,
            latency,
            ages,
        }
    }
}

fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = labels.split_once(&format!("{name}=\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

/// Whether the later half of what is compared is as the earlier one.
struct Verdict {
    is_flat: bool,
    text: String,
}

impl Verdict {
    fn of(samples: &[Sample]) -> Self {
        let compared = &samples[(samples.len() as f64 * WARM_UP) as usize..];
        let (early, late) = compared.split_at(compared.len() / 2);
        let mut text = String::new();
        let mut is_flat = !early.is_empty();
        let mut judge = |what: &str, of: &dyn Fn(&Sample) -> f64, bound: &dyn Fn(f64) -> f64| {
            let (before, after) = (median(early, of), median(late, of));
            let flat = after <= bound(before);
            is_flat &= flat;
            let word = if flat { "flat" } else { "GREW" };
            let _ = writeln!(text, "| {what} | {before:.0} | {after:.0} | {word} |");
        };
        judge("resident memory, MiB", &|sample| sample.memory_mib, &|before| {
            before * MEMORY_MAY_GROW
        });
        judge("open files", &|sample| sample.files, &|before| before + FILES_MAY_GROW);
        judge("age at commit, median, ms", &|sample| sample.latency.0, &|before| {
            before * LATENCY_MAY_GROW
        });
        judge("age at commit, p99, ms", &|sample| sample.latency.1, &|before| {
            before * LATENCY_MAY_GROW
        });
        Self { is_flat, text }
    }
}

fn median(samples: &[Sample], of: &dyn Fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn write_down(
    docs: &Path,
    samples: &[Sample],
    verdict: &Verdict,
    length: Duration,
    rate: u32,
) -> std::io::Result<()> {
    let series = |of: &dyn Fn(&Sample) -> f64| -> Vec<(f64, f64)> {
        samples.iter().map(|sample| (sample.at / 60.0, of(sample))).collect()
    };
    let charts = [
        Chart::new("Resident memory, MiB", vec![("", series(&|sample| sample.memory_mib))]),
        Chart::new("Open files", vec![("", series(&|sample| sample.files))]),
        Chart::new(
            "Age of a record at its commit, ms",
            vec![
                ("median", series(&|sample| sample.latency.0)),
                ("p99", series(&|sample| sample.latency.1)),
            ],
        ),
    ];
    std::fs::write(docs.join("soak.svg"), Chart::column(&charts, "minutes"))?;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').take(3).collect::<Vec<_>>().join(" ");
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let table = &verdict.text;
    let seen = median(samples, &|sample| sample.rate);
    let text = format!(
        "# A soak\n\n\
         One instance of the exchange with 2 stream threads, exactly-once, took {rate} orders a second for\n\
         {minutes:.0} minutes from a broker on the same machine ({processors} processors, load average at the end\n\
         {load}). Its own `/metrics` were read every {every} seconds. `make soak` repeats it and writes\n\
         this page; `SOAK_SECONDS` and `SOAK_RATE` change its length and rate.\n\n\
         ![memory, open files and latency over time](soak.svg)\n\n\
         The first half, in which caches, buffers and the first level of each store fill, is left out;\n\
         then the median of the third quarter is compared with that of the last.\n\n\
         | | before | after | |\n|---|---|---|---|\n{table}\n\
         The age of a record is the time from its timestamp until its results were committed, by the\n\
         bounds of the buckets of `tidemill_record_age_seconds`. It was taken {seen:.0} times a second: of the\n\
         oldest and the newest record of each topic in a commit.\n",
        minutes = length.as_secs_f64() / 60.0,
        every = EVERY.as_secs(),
    );
    std::fs::write(docs.join("soak.md"), text)
}
