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

use std::num::NonZero;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
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
    /// Only this scenario: counts, repartitioned, joins or tables.
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

/// What came of all seeds so far.
#[derive(Default)]
struct Total {
    run: u64,
    failed: u64,
    orphaned: u64,
    events: u64,
    virtual_us: u64,
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
    let bar = ProgressBar::new(seeds.end - seeds.start);
    if let Ok(style) = ProgressStyle::with_template(
        "{bar:40} {pos}/{len} seeds, {per_sec}, {eta} left, {msg} failed",
    ) {
        bar.set_style(style);
    }
    bar.set_message("0");
    let started = Instant::now();
    // Runs have nothing in common, so each core has its own.
    let (next, total) = (AtomicU64::new(seeds.start), Mutex::new(Total::default()));
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = run_in_a_folder_of_its_own(seed, &options);
                    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                    total.note(&outcome);
                    bar.inc(1);
                    let has_failed = !outcome.violations.is_empty();
                    if has_failed || arguments.trace {
                        bar.suspend(|| show(&outcome));
                    }
                    if has_failed {
                        bar.set_message(total.failed.to_string());
                        if !arguments.keep_going {
                            next.store(seeds.end, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    bar.finish_and_clear();
    let total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{} seeds, {} failed, {} done only after one more rebalance; {:.1} hours of virtual time and {} events in {seconds:.1} s, {:.1} seeds a second",
        total.run,
        total.failed,
        total.orphaned,
        total.virtual_us as f64 / 3.6e9,
        total.events,
        total.run as f64 / seconds
    );
    if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Total {
    fn note(&mut self, outcome: &Outcome) {
        self.run += 1;
        self.failed += u64::from(!outcome.violations.is_empty());
        self.orphaned += u64::from(outcome.orphaned);
        self.events += outcome.trace.count();
        self.virtual_us += outcome.virtual_time;
    }
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
