//! The flags of the commands that an operator uses on an application: `reset`, `dlq`, `describe`,
//! `export`, `import`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::letter_lines::place_of;
use super::point_in_time::{PointInTime, StartingPointArg};
use tidemill::operations::dead_letters::LetterPlace;

/// Which application on which cluster.
#[derive(Debug, Clone, Default, Args)]
pub struct ApplicationArgs {
    /// bootstrap.servers: brokers, as host:port, comma separated
    #[arg(long, value_name = "LIST")]
    pub bootstrap_servers: Option<String>,
    /// application.id: group and prefix of internal topics
    #[arg(long, value_name = "NAME")]
    pub application_id: Option<String>,
}

/// Set an application back: offsets of its inputs, internal topics, local state.
///
/// Prints what would be done; --execute does it. Refused while instances are active (exit code 4).
/// Outputs are not deleted: what is processed again is written again, behind what is there. If it
/// does not come to its end, run it again before any instance is started.
///
/// On the other machines of the application, `tidemill reset --local --execute` deletes their
/// local state; an instance that still has some from before the reset says so and stops.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    tidemill reset --config tidemill.toml                        what would be done\n  \
    tidemill reset --config tidemill.toml --execute              all inputs from their start\n  \
    tidemill reset --to latest --to assets=earliest --execute    new orders only, all assets\n  \
    tidemill reset --to 2026-11-23T08:00:00Z --execute\n  \
    tidemill reset --save-offsets before.jsonl && tidemill reset --offsets before.jsonl")]
pub struct ResetArgs {
    /// The application.
    #[command(flatten)]
    pub application: ApplicationArgs,
    /// Where to begin to read: earliest (default), latest, or a time; TOPIC=POINT for one input
    ///
    /// A time is like 2026-11-23T08:00:00Z, milliseconds since 1970, or `2h` for two hours ago
    /// (s, m, h, d). An input that is read into a table wants `earliest`: its changelog is deleted.
    #[arg(long, value_name = "[TOPIC=]POINT")]
    pub to: Vec<StartingPointArg>,
    /// Take offsets from this file, in the form that --save-offsets writes; these win over --to
    #[arg(long, value_name = "FILE")]
    pub offsets: Option<PathBuf>,
    /// First write the offsets that the group has now into this file, as JSON lines
    #[arg(long, value_name = "FILE")]
    pub save_offsets: Option<PathBuf>,
    /// Also delete this internal topic of an older topology; may be repeated
    #[arg(long, value_name = "TOPIC")]
    pub also_delete: Vec<String>,
    /// Leave the local state of this machine alone
    #[arg(long, conflicts_with = "local")]
    pub keep_state: bool,
    /// Delete the local state of this machine, and nothing else; Kafka is not asked
    #[arg(long, conflicts_with_all = ["to", "offsets", "save_offsets", "also_delete"])]
    pub local: bool,
    /// Wait so many seconds for members to leave the group
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub wait: u64,
    /// Do it
    #[arg(long)]
    pub execute: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// List, show and replay dead letters.
///
/// A dead letter is a record that could not be read, processed or written, with headers that say
/// whence and why.
#[derive(Debug, Args)]
pub struct DlqArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DlqCommand,
}

/// A command on dead letters. Its help stands at its arguments.
#[derive(Debug, Subcommand)]
#[allow(missing_docs)]
pub enum DlqCommand {
    List(DlqListArgs),
    Show(DlqShowArgs),
    Replay(DlqReplayArgs),
}

/// Where dead letters lie, and which are meant.
#[derive(Debug, Clone, Default, Args)]
pub struct LetterArgs {
    /// The application.
    #[command(flatten)]
    pub application: ApplicationArgs,
    /// The dead-letter topic, if not that of the configuration
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,
    /// Only letters whose error's name or message contains this text
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Only letters whose record came from this topic
    #[arg(long, value_name = "TOPIC")]
    pub source: Option<String>,
    /// Only letters with a timestamp at or after this time: 2026-11-23T08:00:00Z, ms, or `2h` ago
    #[arg(long, value_name = "TIME")]
    pub since: Option<PointInTime>,
    /// Only letters with a timestamp before this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<PointInTime>,
    /// Only letters in this partition of the dead-letter topic
    #[arg(long, value_name = "N")]
    pub partition: Option<i32>,
    /// Only letters from this offset on
    #[arg(long, value_name = "OFFSET")]
    pub from_offset: Option<i64>,
    /// Only letters before this offset
    #[arg(long, value_name = "OFFSET")]
    pub to_offset: Option<i64>,
    /// Only letters whose record has this key
    #[arg(long, value_name = "TEXT")]
    pub key: Option<String>,
}

/// List dead letters, one a line.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    tidemill dlq list --config tidemill.toml --since 24h\n  \
    tidemill dlq list --reason DecodeError --json > letters.jsonl")]
pub struct DlqListArgs {
    /// Which letters.
    #[command(flatten)]
    pub letters: LetterArgs,
    /// List no more than so many
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Print JSON lines: the whole letters, in the form that `dlq replay --from-file` reads
    #[arg(long)]
    pub json: bool,
}

/// Show dead letters whole.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  tidemill dlq show --config tidemill.toml 0:17")]
pub struct DlqShowArgs {
    /// Letters, by partition and offset in the dead-letter topic
    #[arg(value_name = "PARTITION:OFFSET", required = true, value_parser = place_of)]
    pub places: Vec<LetterPlace>,
    /// The application.
    #[command(flatten)]
    pub application: ApplicationArgs,
    /// The dead-letter topic, if not that of the configuration
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,
    /// Print JSON lines, in the form that `dlq replay --from-file` reads
    #[arg(long)]
    pub json: bool,
}

/// Replay dead letters, as they are or repaired, once each.
///
/// Prints what would be done; --execute does it. Letters go back to the topic that their records
/// came from, or to --to. Each is replayed once, however often and with whatever filters this is
/// run, and also when a run is killed: that it was replayed is written in the same transaction,
/// into the topic `<application.id>-dlq-replayed`. Instances may run meanwhile.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    tidemill dlq replay --reason Timeout --execute\n  \
    tidemill dlq replay --edit --since 2h --execute       repair them in $VISUAL or $EDITOR\n  \
    tidemill dlq list --json > letters.jsonl              or repair them in a file of your own,\n  \
    tidemill dlq replay --from-file letters.jsonl --execute")]
pub struct DlqReplayArgs {
    /// Which letters.
    #[command(flatten)]
    pub letters: LetterArgs,
    /// Replay to this topic, by key, instead of to where each record came from
    #[arg(long, value_name = "TOPIC")]
    pub to: Option<String>,
    /// Replay the letters of this file, as repaired in it: JSON lines as `dlq list --json` prints
    ///
    /// A line names its letter in `letter`; its `key`, `value` and `timestamp`, where there, are
    /// replayed in the place of the letter's own. Letters without a line stay.
    #[arg(long, value_name = "FILE", conflicts_with = "edit")]
    pub from_file: Option<PathBuf>,
    /// Repair the letters in an editor first; those whose line is deleted stay
    #[arg(long)]
    pub edit: bool,
    /// Do it
    #[arg(long)]
    pub execute: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Describe an application: members, tasks, positions, lag, stores.
///
/// Asks the cluster, and over HTTP the instances that have told it where they are.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    tidemill describe --config tidemill.toml\n  \
    tidemill describe --bootstrap-servers kafka:9092 --application-id exchange --json")]
pub struct DescribeArgs {
    /// The application.
    #[command(flatten)]
    pub application: ApplicationArgs,
    /// Ask the instance that serves HTTP at this address, and no others; may be repeated
    ///
    /// The token is that of `http.token`.
    #[arg(long, value_name = "HOST:PORT")]
    pub instance: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Write a store's contents as JSON lines.
///
/// Reads the changelog to where it ends now, so it has what is committed, of all tasks, whether or
/// not an instance runs. Lines come by partition and key, in the form that `import` reads.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    tidemill export positions --config tidemill.toml > positions.jsonl\n  \
    tidemill export books --out books.jsonl")]
pub struct ExportArgs {
    /// The store; a wrong name lists those that there are
    #[arg(value_name = "STORE")]
    pub store: String,
    /// The application.
    #[command(flatten)]
    pub application: ApplicationArgs,
    /// Write into this file instead of to standard output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
}

/// Write JSON lines into a store, through its changelog.
///
/// Looks whether it could; --execute does it. Refused while instances are active (exit code 4).
/// All lines are imported in one transaction, or none. Instances that start afterwards have them,
/// also those that kept local state.
///
/// Fields of a line: `key` or `key_base64`; `value` (JSON), `value_text` or `value_base64`, null
/// deletes; `timestamp` in ms (now); `partition` (by the key, if the store's keys are plain).
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    tidemill import positions positions.jsonl --config tidemill.toml --execute")]
pub struct ImportArgs {
    /// The store
    #[arg(value_name = "STORE")]
    pub store: String,
    /// JSON lines, `.gz` too; - reads standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The application.
    #[command(flatten)]
    pub application: ApplicationArgs,
    /// Delete what the store has and the file has not
    #[arg(long)]
    pub replace: bool,
    /// Do it
    #[arg(long)]
    pub execute: bool,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
}
