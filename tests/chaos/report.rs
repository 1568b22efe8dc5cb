//! The table at the end of a run.

use std::fmt;
use std::time::{Duration, Instant};

use crate::field::Application;
use crate::plan::{Fault, Kind};
use crate::progress::{Progress, Stall};
use crate::verdict::Tally;

/// A fault that was done.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    pub fault: Fault,
    pub at: Instant,
    /// The application whose instance it hit, by number; both where it is `None`.
    pub application: Option<usize>,
}

/// An instance that was told to stop and started again.
#[derive(Clone, Debug)]
pub struct Restart {
    pub instance: String,
    /// From SIGTERM to the end of the process.
    pub stopping: Duration,
    /// From SIGTERM until all its tasks ran again.
    pub ready: Duration,
    /// The partition of its application that stood still longest meanwhile.
    pub stall: Option<Stall>,
}

impl fmt::Display for Restart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { instance, stopping, ready, stall } = self;
        write!(
            formatter,
            "restart of {instance:<11} ended after {:.2} s, ready after {:.2} s, longest pause of a partition",
            stopping.as_secs_f32(),
            ready.as_secs_f32()
        )?;
        match stall {
            Some(Stall { place: (topic, partition), time, .. }) => {
                writeln!(formatter, " {:.2} s ({topic}-{partition})", time.as_secs_f32())
            }
            None => writeln!(formatter, " unknown"),
        }
    }
}

/// What is known of a run.
pub struct Report {
    seed: u64,
    length: Duration,
    pub restarts: Vec<Restart>,
    faults: Vec<(Kind, usize)>,
    /// From each fault until every partition of who was hit had moved on, shortest first.
    recoveries: Vec<Duration>,
    longest_stall: Option<Stall>,
    pub records_in: Vec<(&'static str, usize)>,
    /// By output topic.
    pub topics: Vec<(String, Tally)>,
    /// Spoilt outputs that the comparison took for good.
    pub blind: Vec<&'static str>,
    /// Processes that ended without being told to.
    pub ended: Vec<String>,
}

impl Report {
    pub fn new(seed: u64, length: Duration) -> Self {
        Self {
            seed,
            length,
            restarts: Vec::new(),
            faults: Vec::new(),
            recoveries: Vec::new(),
            longest_stall: None,
            records_in: Vec::new(),
            topics: Vec::new(),
            blind: Vec::new(),
            ended: Vec::new(),
        }
    }

    /// Takes what was done between two moments, and how the applications' commits went on.
    pub fn take_faults(
        &mut self,
        done: Vec<Done>,
        watched: &[Progress],
        from: Instant,
        to: Instant,
    ) {
        let count = |kind| done.iter().filter(|done| done.fault.kind() == kind).count();
        self.faults = Kind::ALL.iter().map(|kind| (*kind, count(*kind))).collect();
        let recovery = |done: &Done| {
            let hit = watched.iter().enumerate();
            let hit = hit.filter(|(number, _)| done.application.is_none_or(|only| only == *number));
            hit.filter_map(|(_, progress)| progress.recovery(done.at)).max()
        };
        self.recoveries = done.iter().filter_map(recovery).collect();
        self.recoveries.sort();
        let stalls = watched.iter().filter_map(|progress| progress.longest_stall(from, to));
        self.longest_stall = stalls.max_by_key(|stall| stall.time);
    }

    /// Whether every output is right, the comparison can fail, and no process gave up.
    pub fn is_clean(&self) -> bool {
        self.failures() == 0
    }

    fn failures(&self) -> usize {
        let wrong = self.topics.iter().filter(|(_, tally)| !tally.is_clean() || tally.found == 0);
        wrong.count() + usize::from(!self.blind.is_empty()) + usize::from(!self.ended.is_empty())
    }

    /// The recovery that such a part of the faults did not exceed.
    fn recovery(&self, part: f64) -> f32 {
        let rank = (part * self.recoveries.len() as f64).ceil() as usize;
        let found = self.recoveries.get(rank.max(1) - 1);
        found.map_or(0.0, Duration::as_secs_f32)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let applications = Application::ALL.len();
        writeln!(
            formatter,
            "\n== chaos: seed {}, {} s, {applications} applications",
            self.seed,
            self.length.as_secs()
        )?;
        for restart in &self.restarts {
            write!(formatter, "{restart}")?;
        }
        writeln!(formatter, "\n{:<26} {:>5}", "fault", "times")?;
        for (kind, times) in &self.faults {
            writeln!(formatter, "{kind:<26} {times:>5}")?;
        }
        writeln!(formatter)?;
        for (name, records) in &self.records_in {
            writeln!(formatter, "{name:<26} {records:>9} records in")?;
        }
        writeln!(
            formatter,
            "\n{:<26} {:>9} {:>9} {:>6} {:>10} {:>9}",
            "output", "expected", "found", "lost", "duplicated", "different"
        )?;
        for (topic, tally) in &self.topics {
            let Tally { expected, found, lost, duplicated, different, .. } = tally;
            writeln!(
                formatter,
                "{topic:<26} {expected:>9} {found:>9} {lost:>6} {duplicated:>10} {different:>9}"
            )?;
            for example in &tally.examples {
                writeln!(formatter, "    {example}")?;
            }
        }
        writeln!(formatter)?;
        if let Some(Stall { place: (topic, partition), time, began }) = &self.longest_stall {
            writeln!(
                formatter,
                "longest stall of a partition  {:.1} s, from {:.1} s on ({topic}-{partition})",
                time.as_secs_f32(),
                began.as_secs_f32()
            )?;
        }
        writeln!(
            formatter,
            "from a fault until every partition moves on  median {:.1} s, p99 {:.1} s ({} faults)",
            self.recovery(0.5),
            self.recovery(0.99),
            self.recoveries.len()
        )?;
        match self.blind.as_slice() {
            [] => writeln!(formatter, "the comparison saw every output that was spoilt on purpose"),
            blind => writeln!(formatter, "the comparison is blind to {}", blind.join(", ")),
        }?;
        writeln!(formatter, "processes that ended without being told to: {}", self.ended.len())?;
        for end in &self.ended {
            writeln!(formatter, "    {end}")?;
        }
        let failed = self.failures();
        writeln!(formatter, "{} passed, {failed} failed", self.topics.len() + 2 - failed)
    }
}
