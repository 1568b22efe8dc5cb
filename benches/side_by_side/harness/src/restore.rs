//! `harness restore`: how long a restart takes when the local state is gone.

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::Common;
use crate::cluster::Cluster;
use crate::outputs;
use crate::process::{Identity, Processor, output_topics};
use crate::run::{Figures, clean_up, run_to_end};

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// The input topic that fills the state.
    #[arg(long, default_value = "orders")]
    input: String,
    /// How often to wipe and restart.
    #[arg(long, default_value_t = 1)]
    repeat: u32,
    /// The processor.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

#[derive(Serialize)]
struct Restart {
    /// From the start of the process to its RESTORED line, as seen by the harness.
    restore_s: f64,
    /// The same as the processor tells it.
    own_restore_ms: u64,
    cpu_s: f64,
    peak_rss_mib: f64,
    changelog_records_per_s: f64,
}

#[derive(Serialize)]
struct Report<'a> {
    kind: &'static str,
    name: &'a str,
    app_id: &'a str,
    workload: &'a str,
    guarantee: &'a str,
    threads: u32,
    changelog_records: u64,
    changelog_keys: u64,
    restarts: Vec<Restart>,
    populate: Figures,
}

pub fn restore(options: &Options) -> Result<()> {
    let common = &options.common;
    let cluster = Cluster::connect(&common.bootstrap)?;
    let identity = Identity::fresh(common)?;
    cluster.recreate(output_topics(&common.workload), common.partitions)?;
    let (processor, populate) =
        run_to_end(&cluster, common, &identity, &options.input, &options.command)?;
    processor.stop()?;

    let (mut changelog_records, mut changelog_keys) = (0, 0);
    for topic in cluster.internal_topics(&identity.app_id)? {
        if topic.ends_with("-changelog") {
            let summary = outputs::summarise(&common.bootstrap, &topic)?;
            changelog_records += summary.records;
            changelog_keys += summary.keys;
        }
    }

    let mut restarts = Vec::new();
    for _ in 0..options.repeat {
        identity.wipe_state()?;
        let mut processor = Processor::start(common, &identity, &options.input, &options.command)?;
        let (restore_s, own_restore_ms) = processor.wait_restored(common.timeout)?;
        let usage = processor.usage()?;
        processor.stop()?;
        restarts.push(Restart {
            restore_s,
            own_restore_ms,
            cpu_s: usage.cpu_s(),
            peak_rss_mib: usage.peak_rss_mib,
            changelog_records_per_s: changelog_records as f64 / restore_s,
        });
    }
    common.report(&Report {
        kind: "restore",
        name: &common.name,
        app_id: &identity.app_id,
        workload: &common.workload,
        guarantee: &common.guarantee,
        threads: common.threads,
        changelog_records,
        changelog_keys,
        restarts,
        populate,
    })?;
    clean_up(&cluster, common, &identity)
}
