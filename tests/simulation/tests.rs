//! The simulation as a test: seeds that must hold, replay, and mistakes that must be found.

use tidemill::mistake::Mistake;
use tidemill_simulation::lending::{Omission, explore};
use tidemill_simulation::{Options, Outcome, run};

/// How many seeds the ordinary tests run.
const SEEDS: u64 = 200;
/// How many seeds a mistake is looked for in; the rarest shows in one of about 130.
const SEARCHED: u64 = 1_000;

fn run_seed(seed: u64, options: &Options) -> Outcome {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    run(seed, options, folder.path())
}

/// The seed's story, for whoever has to find out what went wrong.
fn story(outcome: &Outcome) -> String {
    let events: Vec<&str> = outcome.trace.events().collect();
    format!(
        "seed {} ({}: {})\n{}\n{}\nagain: cargo run --release --example simulate -- --seed {} --trace",
        outcome.seed,
        outcome.scenario,
        outcome.layout,
        events.join("\n"),
        outcome.violations.join("\n"),
        outcome.seed
    )
}

/// The first seed that finds a mistake.
fn first_to_find(mistake: Mistake) -> Option<u64> {
    let options = Options { mistake, ..Options::default() };
    (0..SEARCHED).find(|seed| !run_seed(*seed, &options).violations.is_empty())
}

#[test]
fn whatever_goes_wrong_each_record_counts_exactly_once() {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    std::thread::scope(|scope| {
        for first in 0..cores {
            scope.spawn(move || {
                for seed in (first..SEEDS).step_by(cores as usize) {
                    let outcome = run_seed(seed, &Options::default());
                    assert!(outcome.violations.is_empty(), "{}", story(&outcome));
                }
            });
        }
    });
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [3, 14, 15] {
        let options = Options { whole_trace: true, ..Options::default() };
        let (first, second) = (run_seed(seed, &options), run_seed(seed, &options));
        let events = |outcome: &Outcome| -> Vec<String> {
            outcome.trace.events().map(str::to_owned).collect()
        };
        assert!(first.trace.count() > 20, "something happened: {}", story(&first));
        assert_eq!(events(&first), events(&second));
        assert_eq!(first.trace.fingerprint(), second.trace.fingerprint());
    }
}

#[test]
fn state_that_is_applied_before_its_transaction_commits_is_found() {
    assert!(first_to_find(Mistake::AppliesBeforeCommit).is_some());
}

#[test]
fn a_commit_that_trusts_an_identity_which_is_gone_is_found() {
    assert!(first_to_find(Mistake::TrustsIdentity).is_some());
}

#[test]
fn a_restart_that_forgets_how_much_of_a_pack_is_done_is_found() {
    assert!(first_to_find(Mistake::ForgetsPartOfPack).is_some());
}

#[test]
fn a_thread_that_takes_what_its_successor_purged_for_lost_is_found() {
    assert!(first_to_find(Mistake::TakesPurgedForLost).is_some());
}

#[test]
fn a_partition_that_stands_still_for_ever_is_found() {
    assert!(first_to_find(Mistake::NeverFetchesAnew).is_some());
}

#[test]
fn whatever_the_order_of_events_no_two_processes_commit_a_lent_task_over_each_other() {
    let explored = explore(Omission::Nothing);
    assert!(explored.violation.is_none(), "{:#?}", explored.violation);
    assert!(explored.borrowed_commits > 1_000, "tasks are lent: {explored:?}");
}

#[test]
fn each_rule_of_lending_is_missed_when_it_is_left_out() {
    for omission in Omission::ALL {
        assert!(explore(omission).violation.is_some(), "{omission:?} was not missed");
    }
}
