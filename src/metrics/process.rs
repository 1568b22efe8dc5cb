//! Memory, processor time and open files of this process, under the names every Prometheus
//! client uses. Read from `/proc` at each scrape; on other systems the values stay 0.

use std::fs;
use std::sync::{Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, Opts};

/// Clock ticks a second in `/proc/self/stat`: fixed at 100 by Linux's interface to programs
/// on every architecture Tidemill is built for.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) struct ProcessCollector {
    cpu_seconds: Counter,
    resident_bytes: Gauge,
    virtual_bytes: Gauge,
    open_fds: Gauge,
    max_fds: Gauge,
    threads: Gauge,
    start_seconds: Gauge,
    /// One scrape at a time, for the counter is set in two steps.
    scrape: Mutex<()>,
}

/// What `/proc` says.
#[derive(Debug, Default, Clone, PartialEq)]
struct Usage {
    cpu_seconds: f64,
    virtual_bytes: f64,
    threads: f64,
    /// Seconds from the machine's start to the process's.
    started_after_boot_seconds: f64,
}

impl ProcessCollector {
    pub(super) fn new() -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| Gauge::with_opts(Opts::new(name, help));
        let this = Self {
            cpu_seconds: Counter::with_opts(Opts::new(
                "process_cpu_seconds_total",
                "Total user and system CPU time spent in seconds.",
            ))?,
            resident_bytes: gauge(
                "process_resident_memory_bytes",
                "Resident memory size in bytes.",
            )?,
            virtual_bytes: gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.")?,
            open_fds: gauge("process_open_fds", "Number of open file descriptors.")?,
            max_fds: gauge("process_max_fds", "Maximum number of open file descriptors.")?,
            threads: gauge("process_threads", "Number of OS threads in the process.")?,
            start_seconds: gauge(
                "process_start_time_seconds",
                "Start time of the process since unix epoch in seconds.",
            )?,
            scrape: Mutex::default(),
        };
        Ok(this)
    }

    fn metrics(&self) -> [&dyn Collector; 7] {
        [
            &self.cpu_seconds,
            &self.resident_bytes,
            &self.virtual_bytes,
            &self.open_fds,
            &self.max_fds,
            &self.threads,
            &self.start_seconds,
        ]
    }

    fn refresh(&self) {
        if let Some(usage) = read("/proc/self/stat").as_deref().and_then(parse_stat) {
            self.cpu_seconds.reset();
            self.cpu_seconds.inc_by(usage.cpu_seconds);
            self.virtual_bytes.set(usage.virtual_bytes);
            self.threads.set(usage.threads);
            if let Some(boot) = read("/proc/stat").as_deref().and_then(parse_boot_time) {
                self.start_seconds.set(boot + usage.started_after_boot_seconds);
            }
        }
        if let Some(bytes) = read("/proc/self/status").as_deref().and_then(parse_resident) {
            self.resident_bytes.set(bytes);
        }
        if let Some(files) = read("/proc/self/limits").as_deref().and_then(parse_max_fds) {
            self.max_fds.set(files);
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            // The listing itself holds one descriptor while it is read.
            self.open_fds.set(files.count().saturating_sub(1) as f64);
        }
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.metrics().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let _one_at_a_time = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        self.refresh();
        self.metrics().into_iter().flat_map(Collector::collect).collect()
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// `/proc/self/stat`; see proc(5). The second field, the program's name in parentheses, may
/// hold anything, so fields are counted from its end.
fn parse_stat(text: &str) -> Option<Usage> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    // Field 3 of the manual is the first after the name.
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    Some(Usage {
        cpu_seconds: (field(14)? + field(15)?) / TICKS_PER_SECOND,
        threads: field(20)?,
        started_after_boot_seconds: field(22)? / TICKS_PER_SECOND,
        virtual_bytes: field(23)?,
    })
}

fn parse_boot_time(text: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn parse_resident(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0)
}

fn parse_max_fds(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let mut text = String::from("7 (a) b (c)) S");
        for number in 4..=30 {
            text.push_str(&format!(" {number}00"));
        }
        let usage = parse_stat(&text).unwrap();
        assert_eq!(usage.cpu_seconds, 29.0);
        assert_eq!(usage.threads, 2000.0);
        assert_eq!(usage.started_after_boot_seconds, 22.0);
        assert_eq!(usage.virtual_bytes, 2300.0);
    }

    #[test]
    fn the_values_of_this_process_are_plausible() {
        let collector = ProcessCollector::new().unwrap();
        assert_eq!(collector.collect().len(), 7);
        let mebibytes = collector.resident_bytes.get() / 1_048_576.0;
        assert!((1.0..4096.0).contains(&mebibytes), "{mebibytes}");
        assert!(collector.open_fds.get() >= 3.0);
        assert!(collector.max_fds.get() >= collector.open_fds.get());
        assert!(collector.start_seconds.get() > 1_600_000_000.0);
    }
}
