//! Chaos on a real cluster of three brokers: two applications under load, killed, frozen, cut off
//! and robbed of their state by a seeded script, must make exactly what an uninterrupted run makes.
//!
//! ```text
//! cargo test --release --test chaos -- [--seconds 60] [--seed N] [--keep]
//! cargo test --release --test chaos -- soak [--seconds 1200] [--rate 1000]
//! cargo test --release --test chaos -- join [--mib 2048]
//! ```
//!
//! Read [`plan`] (what happens), [`load`] and [`pairs`] (what is worked on), [`fleet`] (the
//! processes), [`script`] (the run), [`progress`] and [`verdict`] (what is looked at); then [`soak`]
//! and [`join`].

// The report is this program's output.
#![allow(clippy::print_stdout)]

mod chart;
mod field;
mod fleet;
mod join;
mod load;
mod pairs;
mod plan;
mod progress;
mod report;
mod script;
mod serve;
mod soak;
mod verdict;

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long the script is without a word about it, in seconds: that of the ordinary tests.
const SECONDS: u64 = 60;
/// The same for a soak, and its orders a second.
const SOAK_SECONDS: u64 = 1_200;
const SOAK_RATE: u64 = 1_000;
/// The state of a join, in MiB.
const JOIN_MIB: u64 = 2_048;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, application, settings @ ..] = arguments.as_slice()
        && command == "instance"
    {
        let topology = if application == "ballast" { join::topology } else { pairs::topology };
        return match serve::run(topology, settings) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    let number = |flag: &str| {
        let at = arguments.iter().position(|argument| argument == flag)?;
        let value = arguments.get(at + 1).and_then(|value| value.parse::<u64>().ok());
        Some(value.unwrap_or_else(|| panic!("{flag} wants a whole number")))
    };
    if arguments.first().is_some_and(|command| command == "soak") {
        let length = Duration::from_secs(number("--seconds").unwrap_or(SOAK_SECONDS));
        let rate = number("--rate").unwrap_or(SOAK_RATE);
        return soak::run(length, u32::try_from(rate).unwrap_or(u32::MAX));
    }
    if arguments.first().is_some_and(|command| command == "join") {
        return join::run(number("--mib").unwrap_or(JOIN_MIB));
    }
    let seconds = Duration::from_secs(number("--seconds").unwrap_or(SECONDS));
    let seed = number("--seed").unwrap_or_else(of_the_clock);
    script::run(seed, seconds, arguments.iter().any(|argument| argument == "--keep"))
}

/// A seed for who does not name one.
fn of_the_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as u64 % 1_000_000
}
