//! The catalogue of all metrics: what each says and what Kafka Streams calls it. It is written as
//! the families are registered, and `docs/metrics.md` is made of it.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use super::family::{About, PREFIX};

/// Every family that was registered, by level.
#[derive(Default)]
pub struct Catalogue(Mutex<Vec<Level>>);

/// The metrics of one kind of thing, such as a task.
struct Level {
    title: &'static str,
    about: &'static str,
    metrics: Vec<Described>,
}

/// A metric family in words.
struct Described {
    name: String,
    kind: &'static str,
    labels: Vec<&'static str>,
    help: String,
    streams: String,
}

impl Catalogue {
    /// The families added from now on belong to this level.
    pub(super) fn level(&self, title: &'static str, about: &'static str) {
        self.lock().push(Level { title, about, metrics: Vec::new() });
    }

    /// Adds a family to the level that was last named.
    pub(super) fn add(&self, kind: &'static str, about: About<'_>) {
        let mut levels = self.lock();
        if levels.is_empty() {
            levels.push(Level { title: "Others", about: "", metrics: Vec::new() });
        }
        if let Some(level) = levels.last_mut() {
            level.metrics.push(Described {
                name: format!("{PREFIX}{}", about.name),
                kind,
                labels: about.labels.to_vec(),
                help: about.help.to_owned(),
                streams: about.streams.to_owned(),
            });
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Level>> {
        // Every change under the lock is one push: nothing can be left half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The names of all families.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let levels = self.lock();
        let metrics = levels.iter().flat_map(|level| &level.metrics);
        metrics.map(|metric| metric.name.clone()).collect()
    }

    /// The page `docs/metrics.md`, in Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut page = String::from(INTRODUCTION);
        for level in &*self.lock() {
            // Writing to a String cannot fail.
            let _ = write!(page, "\n## {}\n\n{}\n\n", level.title, level.about);
            page.push_str(
                "| metric | kind | labels | says | Kafka Streams |\n|---|---|---|---|---|\n",
            );
            for metric in &level.metrics {
                let labels: Vec<_> =
                    metric.labels.iter().map(|label| format!("`{label}`")).collect();
                let streams: Vec<_> = metric.streams.split_whitespace().map(streams_name).collect();
                let _ = writeln!(
                    page,
                    "| `{}` | {} | {} | {} | {} |",
                    metric.name,
                    metric.kind,
                    labels.join(", "),
                    metric.help,
                    if streams.is_empty() { "none".to_owned() } else { streams.join(", ") },
                );
            }
        }
        page.push_str(END);
        page
    }
}

fn streams_name(name: &str) -> String {
    format!("`{name}`")
}

const INTRODUCTION: &str = "\
# Metrics

<!-- Written from the metrics' own declarations in src/metrics; a test compares them. -->

`GET /metrics` answers in Prometheus' text format, or in OpenMetrics where the `Accept` header asks
for it. Names follow Prometheus' conventions: base units, `_total` for counters. Kafka Streams'
`-rate` is `rate()` of a counter here, its `-avg` the rate of a histogram's `_sum` over that of its
`_count`, and its ratio of a thread's time the rate of a `_sum`; so the last column names the
family of metrics that a series stands for.

The record path counts in plain integers of the thread; they are published at most every 200 ms,
and less often when publishing would take more than a fiftieth of the time. RocksDB is asked every
2 seconds, the Kafka clients report every 5.

Ages of records are sampled: the first and the last record of each batch of a task, and of each
commit. A series of a task, store or partition ends with it: what moved away is shown by its next
owner alone.
";

const END: &str = "
## Process

| metric | says |
|---|---|
| `process_cpu_seconds_total` | processor time, user and system |
| `process_resident_memory_bytes`, `process_virtual_memory_bytes` | memory |
| `process_open_fds`, `process_max_fds` | file descriptors |
| `process_threads` | threads of the system |
| `process_start_time_seconds` | when the process started, in Unix time |

## What has no counterpart

- `put-latency`, `get-latency` and their like of each store call: a look-up that the write set
  answers takes less time than reading the clock twice. `tidemill_store_reads_total` tells how many
  calls went to RocksDB; `tidemill_apply_seconds` is what writing to it takes.
- `record-lateness-avg`: records that come too late are counted by reason in
  `tidemill_task_dropped_records_total`.
- `suppression-buffer-size` and `-count`: what `suppress` holds back lies in a store, so it is
  `tidemill_store_bytes` and `tidemill_store_entries` of that store.
- `num-open-iterators`, `iterator-duration-avg`: a scan ends within the call that began it.
- `suppression-emit-total`: what `suppress` lets go is `tidemill_node_records_total` of its children.
- `commit-id`, `topology-description`: `tidemill --version` and `GET /topology`.
";
