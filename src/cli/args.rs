//! Every command and flag, with its help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::operation_args::{DescribeArgs, DlqArgs, ExportArgs, ImportArgs, ResetArgs};

const AFTER_HELP: &str = "\
Exit codes: 0 done; 1 failed; 2 wrong usage or configuration; 3 the topology breaks what
`topology --against` compares it with; 4 refused, as instances of the application are active;
5 stopped, as another process with the same instance.id has taken its place; 128 + n ended at once
by the second signal n.

Examples:
  tidemill demo                                  everything in one process, nothing to set up
  tidemill run --bootstrap-servers kafka:9092 --application-id exchange
  tidemill replay orders.jsonl.gz --out results  the same topology over a file, without Kafka
  tidemill config check --config tidemill.toml   what would hold, and where it comes from
  tidemill describe --config tidemill.toml       members, tasks, positions, lag
  tidemill dlq list --config tidemill.toml       records that could not be processed";

/// Kafka Streams for Rust, and an exchange built with it: orders in, trades out.
#[derive(Debug, Parser)]
#[command(name = "tidemill", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Arguments {
    /// Where the configuration comes from.
    #[command(flatten)]
    pub sources: SourceArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command that say where the configuration comes from.
#[derive(Debug, Clone, Default, Args)]
pub struct SourceArgs {
    /// TOML file with the configuration
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "TIDEMILL_CONFIG",
        hide_env_values = true
    )]
    pub config: Option<PathBuf>,
    /// Set a configuration key, over file and environment; may be repeated
    ///
    /// `tidemill config keys` lists all keys.
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub set: Vec<(String, String)>,
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, as in threads=4")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

/// A command. Its help stands at its arguments.
#[derive(Debug, Subcommand)]
#[allow(missing_docs)]
pub enum Command {
    Demo(DemoArgs),
    Run(RunArgs),
    Replay(ReplayArgs),
    Reset(ResetArgs),
    Dlq(DlqArgs),
    Describe(DescribeArgs),
    Export(ExportArgs),
    Import(ImportArgs),
    Topology(TopologyArgs),
    Config(ConfigArgs),
    Completions(CompletionArgs),
    Man(ManArgs),
}

/// Try it: broker, generated orders and the exchange in one process.
///
/// Starts librdkafka's in-process broker, sends generated orders to it, runs the exchange on
/// it and shows live counters; metrics are served over HTTP. That broker keeps nothing and
/// its transactions are for show, so the demo proves nothing about recovery. It ends on
/// Ctrl-C or after --seconds, with a summary, and fails when no trade was made.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  tidemill demo --seconds 20 --rate 5000")]
pub struct DemoArgs {
    /// End after so many seconds; without it, on Ctrl-C
    #[arg(long, value_name = "N", env = "DEMO_SECONDS", hide_env_values = true)]
    pub seconds: Option<u64>,
    /// Orders to send a second
    #[arg(long, value_name = "N", default_value_t = 2_000,
          value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub rate: u64,
    /// Assets to trade
    #[arg(long, value_name = "N", default_value_t = 16,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub assets: u32,
    /// Seed of the generated orders; the same seed gives the same orders
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Print the summary as JSON, and nothing else on standard output
    #[arg(long)]
    pub json: bool,
}

/// Run the exchange on a Kafka cluster.
///
/// Joins the group of the application, restores the state of its tasks and processes until
/// SIGTERM or SIGINT, then commits and leaves. A second signal ends it at once, which is
/// safe: what was not committed is done again.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    tidemill run --config /etc/tidemill.toml\n  \
    tidemill run --bootstrap-servers localhost:9092 --application-id exchange \\\n    \
    --state-dir ./state --threads 2")]
pub struct RunArgs {
    /// bootstrap.servers: brokers, as host:port, comma separated
    #[arg(long, value_name = "LIST")]
    pub bootstrap_servers: Option<String>,
    /// application.id: group and prefix of internal topics
    #[arg(long, value_name = "NAME")]
    pub application_id: Option<String>,
    /// instance.id: name of this instance, kept across restarts
    #[arg(long, value_name = "NAME")]
    pub instance_id: Option<String>,
    /// state.dir: folder of the stores
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<String>,
    /// threads: stream threads
    #[arg(long, value_name = "N")]
    pub threads: Option<String>,
    /// http.listen: address:port of metrics and health, or off
    #[arg(long, value_name = "ADDRESS")]
    pub http: Option<String>,
}

/// Run the exchange over a file of orders, without Kafka.
///
/// Each line is an order, or a record `{"key", "value", "timestamp"}`; "value_base64" in the
/// place of "value" holds raw bytes, and a value of null is a tombstone. The same topology
/// runs as on Kafka, with local state that is removed afterwards. A record without a timestamp
/// gets the time of the start.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    tidemill replay orders.jsonl.gz --out results\n  \
    tidemill replay orders.jsonl --assets assets.jsonl --out results\n  \
    generate-orders | tidemill replay -")]
pub struct ReplayArgs {
    /// JSON lines, `.gz` too; - reads standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Records of the assets topic, read before the orders: JSON lines of the same form
    #[arg(long, value_name = "FILE")]
    pub assets: Option<PathBuf>,
    /// Write one JSON-lines file a topic, and books.csv, into this folder
    ///
    /// Without it trades go to standard output.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Keep the state in this folder, instead of a temporary one that is removed
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
}

/// Show the exchange's topology, or what an upgrade to it would break.
///
/// Save a description before an upgrade, as JSON, and compare the new release with it: state and
/// records on their way are found again by the names of stores and internal topics.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes with --against: 0 nothing breaks; 3 something does.\n\n\
    Examples:\n  \
    tidemill topology --format mermaid > topology.mmd\n  \
    tidemill topology --format json > saved.json\n  \
    tidemill topology --against saved.json")]
pub struct TopologyArgs {
    /// Compare with a saved description, as JSON or text, instead of showing the topology
    ///
    /// Prints a line a difference: `breaks` (state or records are lost or misread, or a start is
    /// refused), `condition` (works if what the line says holds) or `safe`. Text tells names alone,
    /// JSON layouts, formats and partitions too. With --format json the differences are JSON.
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// How to show it
    #[arg(long, value_enum, default_value_t = TopologyForm::Text)]
    pub format: TopologyForm,
}

/// A form of a topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TopologyForm {
    /// Kafka Streams' own text
    Text,
    /// JSON
    Json,
    /// Mermaid flowchart
    Mermaid,
}

/// Check and explain the configuration.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// A command on the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the effective values and where each comes from; exit code 2 on problems
    ///
    /// Secrets are not shown. Kafka is not asked.
    #[command(after_help = "Example:\n  tidemill config check --config tidemill.toml")]
    Check {
        /// Print JSON: key, value and origin
        #[arg(long)]
        json: bool,
        /// Print only what differs from the defaults
        #[arg(long)]
        changed: bool,
    },
    /// List the keys with meaning, default, range and environment variable
    #[command(after_help = "Example:\n  tidemill config keys http")]
    Keys {
        /// Only keys that contain this text
        #[arg(value_name = "TEXT")]
        filter: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Print completions for a shell.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    tidemill completions bash > /etc/bash_completion.d/tidemill")]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Print the manual page.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    tidemill man | man -l -\n  \
    tidemill man --out /usr/local/share/man/man1")]
pub struct ManArgs {
    /// Write the pages of all commands into this folder
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn sources_may_stand_before_and_after_the_command() {
        for line in ["tidemill --set a=1=2 config check", "tidemill config check --set a=1=2"] {
            let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(arguments.sources.set, [("a".to_owned(), "1=2".to_owned())]);
        }
        assert!(Arguments::try_parse_from(["tidemill", "config", "check", "--set", "a"]).is_err());
    }
}
