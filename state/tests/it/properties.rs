//! Whatever happens in whatever order, a store is an ordered map, and its changelog restores it.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tidemill_state::StateMemory;

use crate::model::{CrashAt, Mistake, Step, World};

fn key() -> impl Strategy<Value = Vec<u8>> {
    // Few enough to meet again, of lengths around the eight bytes that are sorted by first, and
    // around those that an index holds without a pointer.
    prop_oneof![
        1 => (0..6_usize).prop_map(|n| [b'k'; 41][n..].to_vec()),
        4 => (0..60_u8).prop_map(|n| format!("key-{n:02}-{}", "x".repeat(usize::from(n % 5))).into_bytes()),
        1 => vec(0..3_u8, 0..4),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..40)
}

fn step() -> impl Strategy<Value = Step> {
    let crash = prop_oneof![
        Just(CrashAt::BeforeLogging),
        Just(CrashAt::BeforeTheTransactionCommits),
        Just(CrashAt::BeforeTheOutcomeIsNoted),
        Just(CrashAt::BeforeApply),
        Just(CrashAt::AfterApply),
    ];
    prop_oneof![
        30 => (key(), value()).prop_map(|(key, value)| Step::Put(key, value)),
        15 => (key(), value()).prop_map(|(key, value)| Step::Insert(key, value)),
        15 => key().prop_map(Step::Delete),
        10 => key().prop_map(Step::Remove),
        20 => key().prop_map(Step::Get),
        8 => (key(), option::of(key()), any::<bool>(), 1..20_usize)
            .prop_map(|(from, to, backward, limit)| Step::Scan(from, to, backward, limit)),
        3 => (key(), key()).prop_map(|(from, to)| Step::DeleteRange(from, to)),
        4 => Just(Step::Drain),
        6 => Just(Step::Commit),
        4 => Just(Step::Show),
        5 => Just(Step::Apply),
        2 => Just(Step::Abort),
        1 => Just(Step::Restart),
        2 => crash.prop_map(Step::Crash),
        1 => Just(Step::Wipe),
    ]
}

fn holds(
    cases: u32,
    length: usize,
    on_disk: bool,
    caching: bool,
    mistake: Mistake,
) -> Result<(), String> {
    let config =
        Config { cases, failure_persistence: None, max_shrink_iters: 300, ..Config::default() };
    let memory = StateMemory::new(1 << 20);
    let outcome = TestRunner::new(config).run(&vec(step(), 1..length), |steps| {
        let directory = on_disk.then(|| tempfile::tempdir().unwrap());
        let path = directory.as_ref().map(|directory| directory.path().to_owned());
        World::new(caching, path, memory.clone(), mistake).run(&steps).map_err(TestCaseError::fail)
    });
    outcome.map_err(|failure| failure.to_string())
}

#[test]
fn a_store_in_memory_is_an_ordered_map_through_commits_aborts_and_crashes() {
    holds(2_000, 150, false, false, Mistake::None).unwrap();
}

#[test]
fn a_caching_store_hands_out_folded_updates_with_the_old_values() {
    holds(2_000, 150, false, true, Mistake::None).unwrap();
}

#[test]
fn a_store_on_disk_is_an_ordered_map_through_commits_aborts_and_crashes() {
    holds(40, 150, true, false, Mistake::None).unwrap();
}

#[test]
fn a_caching_store_on_disk_hands_out_folded_updates_with_the_old_values() {
    holds(20, 150, true, true, Mistake::None).unwrap();
}

#[test]
fn the_comparison_notices_what_it_is_there_for() {
    for mistake in [
        Mistake::RollbackKeepsEntries,
        Mistake::RecordIsNotRestored,
        Mistake::PositionIsAhead,
        Mistake::ReadersSeeTheWriteSet,
    ] {
        holds(500, 150, false, false, mistake).expect_err(&format!("{mistake:?} goes unnoticed"));
    }
}
