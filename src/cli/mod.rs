//! The command line: `tidemill demo | run | replay | reset | dlq | describe | export | import |
//! topology | config | completions | man`.
//!
//! Read in this order:
//!
//! 1. [`args`], [`operation_args`]: every command and flag, with its help.
//! 2. [`sources`]: from `--config`, environment and flags to a configuration.
//! 3. [`run`], [`demo`], [`replay`], [`reset`], [`dlq`], [`describe`], [`store_lines`] (`export`
//!    and `import`), [`topology`], [`config`], [`documents`]: one file a command.
//! 4. [`failure`]: what can go wrong, and the exit code it gives.
//! 5. [`instance`]: the exchange on a cluster, for `run` and `demo`; [`order_entry`],
//!    [`order_sender`], [`trade_feed`]: orders in and trades out over HTTP; [`demo_cluster`],
//!    [`order_flow`]: the demo's broker and what is sent to it; [`record_lines`],
//!    [`replay_output`]: what `replay` reads and writes.
//! 6. [`application`]: the exchange on its cluster, for those who look after it;
//!    [`letter_lines`], [`json_bytes`]: what they write and read; [`text_table`],
//!    [`point_in_time`], [`instance_http`]: their tools.
//! 7. [`logging`], [`progress`], [`output`], [`scratch_folder`], [`signals`], [`services`]:
//!    standard error, standard output, temporary folders, signals, and the runtime beside the
//!    stream threads.

mod application;
mod args;
mod config;
mod demo;
mod demo_cluster;
mod describe;
mod dlq;
mod documents;
mod failure;
mod instance;
mod instance_http;
mod json_bytes;
mod letter_lines;
mod logging;
mod operation_args;
mod order_entry;
mod order_flow;
mod order_sender;
mod output;
mod point_in_time;
mod progress;
mod record_lines;
mod replay;
mod replay_output;
mod reset;
mod run;
mod scratch_folder;
mod services;
mod signals;
mod sources;
mod store_lines;
mod text_table;
mod topology;
mod trade_feed;

use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Command};
use sources::Sources;

/// Runs the command of this process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    // On wrong usage this prints the help that applies and exits with code 2.
    let arguments = Arguments::parse();
    let sources = Sources::new(&arguments.sources);
    let done = match &arguments.command {
        Command::Demo(args) => demo::demo(&sources, args),
        Command::Run(args) => run::run(&sources, args),
        Command::Replay(args) => replay::replay(&sources, args),
        Command::Reset(args) => reset::reset(&sources, args),
        Command::Dlq(args) => dlq::dlq(&sources, args),
        Command::Describe(args) => describe::describe(&sources, args),
        Command::Export(args) => store_lines::export(&sources, args),
        Command::Import(args) => store_lines::import(&sources, args),
        Command::Topology(args) => topology::topology(&sources, args),
        Command::Config(args) => config::config(&sources, args),
        Command::Completions(args) => documents::completions(args),
        Command::Man(args) => documents::man(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
