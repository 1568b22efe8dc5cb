//! Lets the fuzzer loose on the parsers that meet bytes from outside: `make fuzz`.
//!
//! ```text
//! cargo run --release --example fuzz -- [--seconds 300] [--seed N] [TARGET ...]
//! ```
//!
//! An input that breaks a parser is written to `fuzz-crashes/` and ends the run with 1. Inputs with
//! new outcomes join `tests/fuzz/corpus`, which the ordinary tests start from.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for developers")]

#[path = "../../tests/fuzz/mod.rs"]
mod fuzz;

use std::fs;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use fuzz::{Crash, Fuzzer, TARGETS, Target, folder};
use indicatif::{ProgressBar, ProgressStyle};

/// Mutates a corpus and feeds it to the parsers that meet bytes from outside.
#[derive(Parser)]
struct Args {
    /// How long each target is fuzzed.
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// Everything follows from it; another one each time unless given.
    #[arg(long)]
    seed: Option<u64>,
    /// All of them unless named.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(TARGETS.iter().map(|target| target.name)))]
    targets: Vec<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let seed = args.seed.unwrap_or_else(rand::random);
    // A panic is caught and told with its input; its own words would only come twice.
    std::panic::set_hook(Box::new(|_| {}));
    let wanted = |target: &&Target| {
        args.targets.is_empty() || args.targets.iter().any(|name| name == target.name)
    };
    for target in TARGETS.iter().filter(wanted) {
        if let Err(crash) = fuzz(target, seed, Duration::from_secs(args.seconds)) {
            fs::create_dir_all("fuzz-crashes").unwrap();
            let file = format!("fuzz-crashes/{}-{seed}", target.name);
            fs::write(&file, &crash.input).unwrap();
            println!("{}: {} (seed {seed}; the input is in {file})", target.name, crash.message);
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn fuzz(target: &'static Target, seed: u64, time: Duration) -> Result<(), Crash> {
    let style = ProgressStyle::with_template("{prefix:16} {bar:40} {elapsed} of {len} s  {msg}");
    let bar = ProgressBar::new(time.as_secs()).with_style(style.unwrap()).with_prefix(target.name);
    let started = Instant::now();
    let mut fuzzer = Fuzzer::new(target, seed);
    fuzzer.replay()?;
    let mut kept = 0;
    while started.elapsed() < time {
        for _ in 0..1_000 {
            if let Some(input) = fuzzer.step()? {
                let name = BuildHasherDefault::<DefaultHasher>::default().hash_one(input);
                fs::write(folder(target).join(format!("{name:016x}")), input).unwrap();
                kept += 1;
            }
        }
        bar.set_position(started.elapsed().as_secs());
        bar.set_message(format!("{} inputs, {kept} new outcomes", fuzzer.tried));
    }
    bar.finish_and_clear();
    println!(
        "{}: {} inputs, {kept} new outcomes, no crash ({})",
        target.name, fuzzer.tried, target.about
    );
    Ok(())
}
