//! The command line: `tidemill demo | run | replay | topology | config | completions | man`.
//!
//! Read in this order:
//!
//! 1. [`args`]: every command and flag, with its help.
//! 2. [`sources`]: from `--config`, environment and flags to a configuration.
//! 3. [`run`], [`demo`], [`replay`], [`topology`], [`config`], [`documents`]: one file a
//!    command.
//! 4. [`failure`]: what can go wrong, and the exit code it gives.
//! 5. [`instance`]: the exchange on a cluster, for `run` and `demo`; [`demo_cluster`],
//!    [`order_flow`]: the demo's broker and what is sent to it; [`record_lines`],
//!    [`replay_output`]: what `replay` reads and writes.
//! 6. [`logging`], [`progress`], [`output`], [`scratch_folder`], [`signals`], [`services`]:
//!    standard error, standard output, temporary folders, signals, and the runtime beside the
//!    stream threads.

mod args;
mod config;
mod demo;
mod demo_cluster;
mod documents;
mod failure;
mod instance;
mod logging;
mod order_flow;
mod output;
mod progress;
mod record_lines;
mod replay;
mod replay_output;
mod run;
mod scratch_folder;
mod services;
mod signals;
mod sources;
mod topology;

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
