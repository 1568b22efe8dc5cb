//! What a stream thread counts and measures: its loop, its commits, the nodes it runs.

use prometheus::{CounterVec, HistogramVec};

use super::family::{
    About, Counter, Family, FloatCounter, Gauge, Histogram, LATENCY_BUCKETS, Registrar, clamp,
};
use super::registry::{CounterFamily, GaugeFamily};

/// The families of all threads.
pub(super) struct ThreadFamilies {
    state: GaugeFamily,
    started: GaugeFamily,
    tasks: GaugeFamily,
    tasks_created: CounterFamily,
    tasks_closed: CounterFamily,
    processed: CounterFamily,
    punctuations: CounterFamily,
    publish: Family<CounterVec>,
    poll: Family<HistogramVec>,
    process: Family<HistogramVec>,
    punctuate: Family<HistogramVec>,
    nodes: CounterFamily,
    commits: CounterFamily,
    commit_failures: CounterFamily,
    aborts: CounterFamily,
    fences: CounterFamily,
    stalls: CounterFamily,
    commit: Family<HistogramVec>,
    steps: Family<CounterVec>,
    open_bytes: GaugeFamily,
    apply: Family<HistogramVec>,
    restore: Family<HistogramVec>,
}

impl ThreadFamilies {
    pub(super) fn new(registrar: &Registrar<'_>) -> prometheus::Result<Self> {
        let about = |name, help, streams| About { name, help, labels: &["thread"], streams };
        let counter = |name, help, streams| registrar.counters(about(name, help, streams));
        let gauge = |name, help, streams| registrar.gauges(about(name, help, streams));
        let latency = |name, help, streams| {
            registrar.histograms(about(name, help, streams), &LATENCY_BUCKETS)
        };
        registrar
            .level("Stream thread", "One consumer, one producer, and the tasks assigned to it.");
        let state = registrar.gauges(About {
            labels: &["thread", "state"],
            ..about(
                "thread_state",
                "1 for the state a thread is in (joining, restoring, running), 0 for the others.",
                "thread-state",
            )
        })?;
        let started = gauge(
            "thread_start_time_seconds",
            "When a thread started, in Unix time.",
            "thread-start-time",
        )?;
        let tasks = gauge("thread_tasks", "Tasks of a thread.", "")?;
        let tasks_created =
            counter("thread_tasks_created_total", "Tasks assigned.", "task-created-total")?;
        let tasks_closed =
            counter("thread_tasks_closed_total", "Tasks given up.", "task-closed-total")?;
        let processed = counter(
            "thread_records_processed_total",
            "Records that went through a topology.",
            "process-total process-rate",
        )?;
        let punctuations = counter(
            "thread_punctuations_total",
            "Punctuators called.",
            "punctuate-total punctuate-rate",
        )?;
        let publish = registrar.float_counters(about(
            "thread_publish_seconds_total",
            "Time in which a thread published its metrics and its status.",
            "",
        ))?;
        let poll = latency(
            "poll_seconds",
            "Time of one poll of the consumer that brought records.",
            "poll-latency-avg poll-latency-max poll-total poll-ratio",
        )?;
        let process = latency(
            "process_batch_seconds",
            "Time of one round of processing; its sum over the records processed is the time a \
             record takes.",
            "process-latency-avg process-latency-max process-ratio",
        )?;
        let punctuate = latency(
            "punctuate_seconds",
            "Time of one round of punctuators.",
            "punctuate-latency-avg punctuate-latency-max punctuate-ratio",
        )?;
        registrar.level(
            "Node",
            "A node of the topology, named as in its description; all tasks of a thread together.",
        );
        let nodes = registrar.counters(About {
            labels: &["thread", "node"],
            ..about(
                "node_records_total",
                "Records that a node was given.",
                "process-total process-rate",
            )
        })?;
        registrar.level("Commit", "The commits of a thread; under exactly-once, its transactions.");
        Ok(Self {
            state,
            started,
            tasks,
            tasks_created,
            tasks_closed,
            processed,
            punctuations,
            publish,
            poll,
            process,
            punctuate,
            nodes,
            commits: counter(
                "commits_total",
                "Commits that succeeded.",
                "commit-total commit-rate",
            )?,
            commit_failures: counter(
                "commit_failures_total",
                "Commits that failed; the thread went back to the last one that succeeded.",
                "",
            )?,
            aborts: counter(
                "transaction_aborts_total",
                "Times a thread took everything uncommitted back.",
                "txn-abort-time-ns-total",
            )?,
            fences: counter("fences_total", "Times a producer was fenced by a newer one.", "")?,
            stalls: counter(
                "input_stalls_total",
                "Times an input stood although its log went on, and was fetched anew.",
                "",
            )?,
            commit: latency(
                "commit_seconds",
                "Time of one commit, all its steps.",
                "commit-latency-avg commit-latency-max commit-ratio",
            )?,
            steps: registrar.float_counters(About {
                labels: &["thread", "step"],
                ..about(
                    "commit_step_seconds_total",
                    "Time in the steps of commits: flush, changelog, offsets (records are delivered \
                     meanwhile), transaction (the rest of that, and the commit itself), apply.",
                    "flush-time-ns-total txn-send-offsets-time-ns-total txn-commit-time-ns-total",
                )
            })?,
            open_bytes: gauge(
                "transaction_open_bytes",
                "Keys and values produced since the last commit.",
                "",
            )?,
            apply: latency(
                "apply_seconds",
                "Time in which a task's committed writes moved on to RocksDB.",
                "flush-latency-avg flush-latency-max flush-rate",
            )?,
            restore: registrar.histograms(
                about(
                    "restore_seconds",
                    "Time from a task's assignment until its stores were up to date.",
                    "restore-latency-avg restore-latency-max restore-ratio",
                ),
                &super::family::AGE_BUCKETS,
            )?,
        })
    }

    pub(super) fn bundle(&self, thread: &str) -> ThreadMetrics {
        let labels = &[thread];
        ThreadMetrics {
            states: THREAD_STATES.map(|state| (state, self.state.series(&[thread, state]))),
            started: self.started.series(labels),
            tasks: self.tasks.series(labels),
            tasks_created: self.tasks_created.series(labels),
            tasks_closed: self.tasks_closed.series(labels),
            processed: self.processed.series(labels),
            punctuations: self.punctuations.series(labels),
            publish: self.publish.series(labels),
            poll: self.poll.series(labels),
            process: self.process.series(labels),
            punctuate: self.punctuate.series(labels),
            commits: self.commits.series(labels),
            commit_failures: self.commit_failures.series(labels),
            aborts: self.aborts.series(labels),
            fences: self.fences.series(labels),
            stalls: self.stalls.series(labels),
            commit: self.commit.series(labels),
            steps: CommitStep::ALL.map(|step| self.steps.series(&[thread, step.word()])),
            open_bytes: self.open_bytes.series(labels),
            apply: self.apply.series(labels),
            restore: self.restore.series(labels),
        }
    }

    pub(super) fn node(&self, thread: &str, node: &str) -> NodeMetrics {
        NodeMetrics { records: self.nodes.series(&[thread, node]) }
    }
}

/// What a thread can be doing, in the words of [`ThreadMetrics::set_state`].
const THREAD_STATES: [&str; 3] = ["joining", "restoring", "running"];

/// A part of the commit protocol that is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitStep {
    /// 1: operators push on what they held back.
    Flush,
    /// 2: write sets go to the changelogs.
    Changelog,
    /// 4, and most of 3: offsets join the transaction while records are delivered.
    Offsets,
    /// The rest of 3, and 5: everything is delivered and committed.
    Transaction,
    /// 6: what is committed moves on to the stores' engines.
    Apply,
}

impl CommitStep {
    /// All of them, in their order.
    pub const ALL: [Self; 5] =
        [Self::Flush, Self::Changelog, Self::Offsets, Self::Transaction, Self::Apply];

    fn word(self) -> &'static str {
        match self {
            Self::Flush => "flush",
            Self::Changelog => "changelog",
            Self::Offsets => "offsets",
            Self::Transaction => "transaction",
            Self::Apply => "apply",
        }
    }
}

/// Metrics of one stream thread.
pub struct ThreadMetrics {
    states: [(&'static str, Gauge); THREAD_STATES.len()],
    started: Gauge,
    tasks: Gauge,
    tasks_created: Counter,
    tasks_closed: Counter,
    processed: Counter,
    punctuations: Counter,
    publish: FloatCounter,
    poll: Histogram,
    process: Histogram,
    punctuate: Histogram,
    commits: Counter,
    commit_failures: Counter,
    aborts: Counter,
    fences: Counter,
    stalls: Counter,
    commit: Histogram,
    steps: [FloatCounter; CommitStep::ALL.len()],
    open_bytes: Gauge,
    apply: Histogram,
    restore: Histogram,
}

impl ThreadMetrics {
    /// The thread started at this time, in ms since 1970.
    pub fn set_started(&self, at_ms: i64) {
        self.started.set(at_ms.div_euclid(1000));
    }

    /// What the thread is doing: `joining`, `restoring` or `running`.
    pub fn set_state(&self, current: &str) {
        for (state, gauge) in &self.states {
            gauge.set(i64::from(*state == current));
        }
    }

    /// One poll took so long.
    pub fn poll_seconds(&self, seconds: f64) {
        self.poll.observe(seconds);
    }

    /// One round of processing, of any number of records, took so long.
    pub fn process_seconds(&self, seconds: f64) {
        self.process.observe(seconds);
    }

    /// One round of punctuators took so long.
    pub fn punctuate_seconds(&self, seconds: f64) {
        self.punctuate.observe(seconds);
    }

    /// One commit succeeded and took so long.
    pub fn commit_seconds(&self, seconds: f64) {
        self.commits.inc();
        self.commit.observe(seconds);
    }

    /// A step of a commit took so long.
    pub fn commit_step_seconds(&self, step: CommitStep, seconds: f64) {
        self.steps[step as usize].inc_by(seconds.max(0.0));
    }

    /// It took so long to publish metrics and status.
    pub fn publish_seconds(&self, seconds: f64) {
        self.publish.inc_by(seconds);
    }

    /// A commit failed.
    pub fn commit_failed(&self) {
        self.commit_failures.inc();
    }

    /// Bytes produced since the last commit.
    pub fn set_open_bytes(&self, bytes: u64) {
        self.open_bytes.set(clamp(bytes));
    }

    /// A task's committed writes moved on to its stores' engines in so long.
    pub fn apply_seconds(&self, seconds: f64) {
        self.apply.observe(seconds);
    }

    /// A task's stores were up to date so long after its assignment.
    pub fn restore_seconds(&self, seconds: f64) {
        self.restore.observe(seconds);
    }

    /// A transaction was aborted.
    pub fn aborted(&self) {
        self.aborts.inc();
    }

    /// The producer was fenced by a newer one of its transactional id.
    pub fn fenced(&self) {
        self.fences.inc();
    }

    /// An input stood although its log went on.
    pub fn input_stalled(&self) {
        self.stalls.inc();
    }

    /// Tasks the thread owns.
    pub fn set_tasks(&self, tasks: usize) {
        self.tasks.set(clamp(tasks as u64));
    }

    /// A task was assigned.
    pub fn task_created(&self) {
        self.tasks_created.inc();
    }

    /// A task was given up.
    pub fn task_closed(&self) {
        self.tasks_closed.inc();
    }
}

/// What a thread counts between two publications, in plain integers.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct LocalThread {
    /// Records that went through a topology.
    pub processed: u64,
    /// Punctuators called.
    pub punctuations: u64,
}

impl LocalThread {
    /// Adds the counts to the thread's metrics and starts anew.
    pub fn publish(&mut self, metrics: &ThreadMetrics) {
        let Self { processed, punctuations } = std::mem::take(self);
        metrics.processed.inc_by(processed);
        metrics.punctuations.inc_by(punctuations);
    }
}

/// What one thread takes through one node.
pub struct NodeMetrics {
    records: Counter,
}

impl NodeMetrics {
    /// The node was given so many records more.
    pub fn processed(&self, records: u64) {
        self.records.inc_by(records);
    }
}
