//! The simulation at scale: runs seeds until one fails, and shows how it failed.
//!
//! ```sh
//! cargo run --release --example simulate -- --seeds 10000
//! cargo run --release --example simulate -- --seed 4711 --trace
//! ```
//!
//! A failing seed is printed with the last events before its end; `--seed` runs it again, exactly
//! as it was. `--break` lets the runtime make a mistake on purpose, which the simulation has to
//! find.

#![allow(clippy::print_stdout)]

use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use tidemill::mistake::Mistake;
use tidemill_simulation::{Options, Outcome, run};

/// Runs the runtime on a simulated cluster, seed after seed.
#[derive(Parser)]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Only this one.
    #[arg(long)]
    seed: Option<u64>,
    /// Only this scenario: counts, joins or tables.
    #[arg(long)]
    scenario: Option<String>,
    /// A mistake for the runtime to make.
    #[arg(long = "break", value_enum)]
    mistake: Option<Broken>,
    /// Shows every event of each run.
    #[arg(long)]
    trace: bool,
    /// Goes on after a seed has failed.
    #[arg(long)]
    keep_going: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Broken {
    /// State is applied before the transaction commits.
    CommitOrder,
    /// The group identity is not checked.
    Identity,
}

impl From<Broken> for Mistake {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::CommitOrder => Self::AppliesBeforeCommit,
            Broken::Identity => Self::TrustsIdentity,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options {
        scenario: arguments.scenario.clone(),
        mistake: arguments.mistake.map_or(Mistake::None, Mistake::from),
        whole_trace: arguments.trace,
    };
    let seeds = match arguments.seed {
        Some(seed) => seed..seed + 1,
        None => arguments.from..arguments.from + arguments.seeds,
    };
    let count = seeds.end - seeds.start;
    let bar = ProgressBar::new(count);
    if let Ok(style) = ProgressStyle::with_template(
        "{bar:40} {pos}/{len} seeds, {per_sec}, {eta} left, {msg} failed",
    ) {
        bar.set_style(style);
    }
    let (started, mut failed, mut orphaned) = (Instant::now(), 0_u64, 0_u64);
    let (mut events, mut virtual_us) = (0, 0);
    bar.set_message("0");
    for seed in seeds {
        let outcome = run_in_a_folder_of_its_own(seed, &options);
        bar.inc(1);
        events += outcome.trace.count();
        virtual_us += outcome.virtual_time;
        orphaned += u64::from(outcome.orphaned);
        if !outcome.violations.is_empty() || arguments.trace {
            bar.suspend(|| show(&outcome));
        }
        if !outcome.violations.is_empty() {
            failed += 1;
            bar.set_message(failed.to_string());
            if !arguments.keep_going {
                break;
            }
        }
    }
    let run = bar.position();
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{run} seeds, {failed} failed, {orphaned} done only after one more rebalance; {:.1} hours of virtual time and {events} events in {seconds:.1} s, {:.1} seeds a second",
        virtual_us as f64 / 3.6e9,
        run as f64 / seconds
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_in_a_folder_of_its_own(seed: u64, options: &Options) -> Outcome {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    run(seed, options, folder.path())
}

fn show(outcome: &Outcome) {
    println!("\nseed {} ({}: {})", outcome.seed, outcome.scenario, outcome.layout);
    for event in outcome.trace.events() {
        println!("{event}");
    }
    for violation in &outcome.violations {
        println!("VIOLATION: {violation}");
    }
    println!("fingerprint {:016x}", outcome.trace.fingerprint());
    println!("again: cargo run --release --example simulate -- --seed {} --trace", outcome.seed);
}
