//! `harness run`: a processor over the whole input.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;

use crate::Common;
use crate::cluster::{Cluster, Group};
use crate::outputs::{self, TopicSummary};
use crate::process::{Identity, Processor, Usage, machine_cpu_s, output_topics};

const POLL: Duration = Duration::from_millis(50);

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// The input topic.
    #[arg(long, default_value = "orders")]
    input: String,
    /// How many records the input must hold; the run is refused if it holds another number.
    #[arg(long)]
    records: Option<i64>,
    /// The processor.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// The figures of a run; the README says what each means.
#[derive(Serialize)]
pub struct Figures {
    pub records: i64,
    pub wall_s: f64,
    pub records_per_s: f64,
    pub startup_s: f64,
    pub steady_s: f64,
    pub steady_records: i64,
    pub steady_records_per_s: f64,
    pub cpu_user_s: f64,
    pub cpu_sys_s: f64,
    pub cpu_us_per_record: f64,
    pub startup_cpu_s: f64,
    pub steady_cpu_us_per_record: f64,
    pub warm_records_per_s: f64,
    pub warm_cpu_us_per_record: f64,
    pub peak_rss_mib: f64,
    pub machine_cpu_s: f64,
}

#[derive(Serialize)]
struct Report<'a> {
    kind: &'static str,
    name: &'a str,
    app_id: &'a str,
    workload: &'a str,
    guarantee: &'a str,
    threads: u32,
    #[serde(flatten)]
    figures: Figures,
    stop_s: f64,
    outputs: BTreeMap<&'a str, TopicSummary>,
}

pub fn run(options: &Options) -> Result<()> {
    let common = &options.common;
    let cluster = Cluster::connect(&common.bootstrap)?;
    let records = cluster.records(&options.input)?;
    if options.records.is_some_and(|expected| expected != records) {
        bail!(
            "{} holds {records} records, not {}",
            options.input,
            options.records.unwrap_or_default()
        );
    }
    let identity = Identity::fresh(common)?;
    let outputs = output_topics(&common.workload);
    cluster.recreate(outputs, common.partitions)?;
    let (processor, figures) =
        run_to_end(&cluster, common, &identity, &options.input, &options.command)?;
    let stop_s = processor.stop()?;
    let mut summaries = BTreeMap::new();
    for topic in outputs {
        summaries.insert(*topic, outputs::summarise(&common.bootstrap, topic)?);
    }
    common.report(&Report {
        kind: "run",
        name: &common.name,
        app_id: &identity.app_id,
        workload: &common.workload,
        guarantee: &common.guarantee,
        threads: common.threads,
        figures,
        stop_s,
        outputs: summaries,
    })?;
    clean_up(&cluster, common, &identity)
}

pub fn clean_up(cluster: &Cluster, common: &Common, identity: &Identity) -> Result<()> {
    if common.keep {
        return Ok(());
    }
    fs::remove_dir_all(&identity.state_dir)?;
    let internal = cluster.internal_topics(&identity.app_id)?;
    cluster.delete(&internal.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Starts the processor and returns it, still running, when it has committed the end of the input
/// and of its own repartition topics.
pub fn run_to_end(
    cluster: &Cluster,
    common: &Common,
    identity: &Identity,
    input: &str,
    command: &[String],
) -> Result<(Processor, Figures)> {
    let ends: Vec<i64> = cluster.watermarks(input)?.iter().map(|&(_, high)| high).collect();
    let records: i64 = ends.iter().sum();
    let group = cluster.group(&identity.app_id)?;
    let machine_before = machine_cpu_s()?;
    let mut processor = Processor::start(common, identity, input, command)?;

    let mut first: Option<Mark> = None;
    let mut half: Option<Mark> = None;
    loop {
        std::thread::sleep(POLL);
        processor.check(common.timeout)?;
        let committed = group.committed(input, ends.len())?;
        let sum: i64 = committed.iter().sum();
        if first.is_none() && sum > 0 {
            first = Some(Mark::now(sum, &processor)?);
        }
        if half.is_none() && sum >= records / 2 {
            half = Some(Mark::now(sum, &processor)?);
        }
        if committed.iter().zip(&ends).all(|(committed, end)| committed >= end) {
            break;
        }
    }
    finish_repartition(cluster, &group, common, identity, &mut processor)?;

    let end = Mark::now(records, &processor)?;
    let machine_cpu_s = machine_cpu_s()? - machine_before;
    let first = first.unwrap_or(end);
    let steady = end.since(&first);
    let warm = end.since(&half.unwrap_or(end));
    let wall_s = end.at.duration_since(processor.started).as_secs_f64();
    let figures = Figures {
        records,
        wall_s,
        records_per_s: records as f64 / wall_s,
        startup_s: wall_s - steady.seconds,
        steady_s: steady.seconds,
        steady_records: steady.records,
        steady_records_per_s: steady.records_per_s(),
        cpu_user_s: end.usage.user_s,
        cpu_sys_s: end.usage.sys_s,
        cpu_us_per_record: end.usage.cpu_s() * 1e6 / records as f64,
        startup_cpu_s: first.usage.cpu_s(),
        steady_cpu_us_per_record: steady.cpu_us_per_record(),
        warm_records_per_s: warm.records_per_s(),
        warm_cpu_us_per_record: warm.cpu_us_per_record(),
        peak_rss_mib: end.usage.peak_rss_mib,
        machine_cpu_s,
    };
    Ok((processor, figures))
}

/// How far a run was at a moment.
#[derive(Clone, Copy)]
struct Mark {
    at: Instant,
    records: i64,
    usage: Usage,
}

/// What happened between two marks.
struct Span {
    seconds: f64,
    records: i64,
    cpu_s: f64,
}

impl Mark {
    fn now(records: i64, processor: &Processor) -> Result<Self> {
        Ok(Mark { at: Instant::now(), records, usage: processor.usage()? })
    }

    fn since(&self, earlier: &Mark) -> Span {
        Span {
            seconds: self.at.duration_since(earlier.at).as_secs_f64(),
            records: self.records - earlier.records,
            cpu_s: self.usage.cpu_s() - earlier.usage.cpu_s(),
        }
    }
}

impl Span {
    /// 0 for a span without records: the run was over between two polls.
    fn records_per_s(&self) -> f64 {
        if self.records == 0 { 0.0 } else { self.records as f64 / self.seconds }
    }

    fn cpu_us_per_record(&self) -> f64 {
        if self.records == 0 { 0.0 } else { self.cpu_s * 1e6 / self.records as f64 }
    }
}

/// Once the input is committed nothing more is written to the repartition topics; wait for the
/// group to have committed their ends too.
fn finish_repartition(
    cluster: &Cluster,
    group: &Group,
    common: &Common,
    identity: &Identity,
    processor: &mut Processor,
) -> Result<()> {
    let internal = cluster.internal_topics(&identity.app_id)?;
    for topic in internal.iter().filter(|topic| topic.ends_with("-repartition")) {
        let ends = cluster.watermarks(topic)?;
        while group
            .committed(topic, ends.len())?
            .iter()
            .zip(&ends)
            .any(|(committed, (_, end))| committed < end)
        {
            std::thread::sleep(POLL);
            processor.check(common.timeout)?;
        }
    }
    Ok(())
}
