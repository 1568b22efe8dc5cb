//! The side-by-side harness: loads topics, runs any stream processor against them and measures it. See ../README.md.

mod cluster;
mod latency;
mod limit;
mod load;
mod outputs;
mod process;
mod restore;
mod run;

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use serde::Serialize;

#[derive(Parser)]
#[command(about = "A processor-agnostic benchmark harness for Kafka stream processors")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Create a topic afresh and fill it from a JSONL file of {"key","value","timestamp"}.
    Load(load::Options),
    /// Run a processor over the whole input and measure it.
    Run(run::Options),
    /// Fill a changelog, wipe the local state, and measure how long a restart takes to restore it.
    Restore(restore::Options),
    /// Feed a processor at a steady rate and measure end-to-end latency.
    Latency(latency::Options),
    /// Be a processor (the environment contract holds): raw consume and transactional produce.
    Limit,
    /// Count and checksum a topic as `run` does.
    Checksum(outputs::ChecksumOptions),
    /// Write a topic's committed records to a file, keys and values in hex.
    Dump(outputs::DumpOptions),
}

/// What every command that runs a processor takes.
#[derive(Args, Clone)]
pub struct Common {
    #[arg(long, default_value = "127.0.0.1:29092", env = "BOOTSTRAP")]
    bootstrap: String,
    /// Names the run, and the consumer group together with the time it started.
    #[arg(long)]
    name: String,
    #[arg(long)]
    workload: String,
    #[arg(long, default_value = "exactly_once_v2")]
    guarantee: String,
    #[arg(long, default_value_t = 1)]
    threads: u32,
    /// Partitions of the output topics.
    #[arg(long, default_value_t = 4)]
    partitions: i32,
    /// Where state directories and logs go.
    #[arg(long, default_value_os_t = std::env::temp_dir().join("tidemill-side-by-side"))]
    work_dir: PathBuf,
    /// Every result is appended to this file as one JSON line.
    #[arg(long, default_value = "results.jsonl")]
    results: PathBuf,
    /// Leave the state directory and the internal topics in place.
    #[arg(long)]
    keep: bool,
    /// Give up after so many seconds.
    #[arg(long, default_value_t = 600)]
    timeout: u64,
}

impl Common {
    /// Prints a result and appends it to the results file.
    fn report(&self, result: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(result)?;
        println!("{line}");
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.results)
            .with_context(|| format!("{}", self.results.display()))?;
        Ok(writeln!(file, "{line}")?)
    }
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Load(options) => load::load(&options),
        Command::Run(options) => run::run(&options),
        Command::Restore(options) => restore::restore(&options),
        Command::Latency(options) => latency::latency(&options),
        Command::Limit => limit::limit(),
        Command::Checksum(options) => outputs::checksum(&options),
        Command::Dump(options) => outputs::dump(&options),
    }
}
