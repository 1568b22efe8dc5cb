//! Windows where the driver's own ways (no pause between looks, every update at once) would hide
//! something: pauses, least retention, caching, and buffers that are full.

use std::time::Duration;

use tidemill::driver::TopologyTestDriver;
use tidemill::prelude::*;

const SIZE_MS: i64 = 10_000;
const SIZE: Duration = Duration::from_millis(10_000);
const SECOND: Duration = Duration::from_secs(1);

/// A topology from `words`, grouped by key, to `out`.
fn topology<S: Serde<Windowed<String>>>(
    keys: S,
    count: impl FnOnce(KGroupedStream<String, String>) -> KTable<Windowed<String>, i64>,
) -> Topology {
    let builder = StreamsBuilder::new();
    let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    let counts = count(words.group_by_key(Grouped::with(Utf8, Utf8)));
    counts.to_stream().to("out", Produced::with(keys, Nullable(I64)));
    builder.build().unwrap()
}

fn pipe(driver: &TopologyTestDriver, key: &str, at_ms: i64) {
    driver.input_topic("words", Utf8, Utf8).pipe(key, "word", at_ms).unwrap();
}

/// What has come out since the last call: key, window start and end, count.
fn out(
    driver: &TopologyTestDriver,
    keys: impl Serde<Windowed<String>>,
) -> Vec<(String, i64, i64, Option<i64>)> {
    let pairs = driver.output_topic("out", keys, Nullable(I64)).read_pairs().unwrap();
    let row = |(Windowed { key, window }, count): (Windowed<String>, _)| {
        (key, window.start.millis(), window.end.millis(), count)
    };
    pairs.into_iter().map(row).collect()
}

fn time_keys() -> TimeWindowed<Utf8> {
    TimeWindowed::new(Utf8, SIZE_MS)
}

fn counts() -> Materialized<i64> {
    Materialized::named("counts", I64)
}

/// Pipes records so far apart that a store of the least retention drops each window at the next.
fn pipe_far_apart(topology: &Topology) -> TopologyTestDriver {
    let driver = TopologyTestDriver::builder().emit_interval(SECOND).start(topology).unwrap();
    for at_ms in [20_000, 220_000, 420_000] {
        pipe(&driver, "ann", at_ms);
    }
    driver
}

#[test]
fn no_tumbling_window_expires_before_its_final_result_came_out() {
    let topology = topology(time_keys(), |words| {
        words
            .windowed_by(TimeWindows::of(SIZE))
            .emit_strategy(EmitStrategy::OnWindowClose)
            .count(counts())
    });
    let got = out(&pipe_far_apart(&topology), time_keys());
    let want = [20_000, 220_000].map(|start| ("ann".to_owned(), start, start + SIZE_MS, Some(1)));
    assert_eq!(got, want);
}

#[test]
fn no_sliding_window_expires_before_its_final_result_came_out() {
    let topology = topology(time_keys(), |words| {
        words
            .windowed_by(SlidingWindows::of(SIZE))
            .emit_strategy(EmitStrategy::OnWindowClose)
            .count(counts())
    });
    let got = out(&pipe_far_apart(&topology), time_keys());
    let want = [20_000, 220_000].map(|end| ("ann".to_owned(), end - SIZE_MS, end, Some(1)));
    assert_eq!(got, want);
}

#[test]
fn no_session_expires_before_its_final_result_came_out() {
    let topology = topology(SessionWindowed(Utf8), |words| {
        words
            .windowed_by(SessionWindows::of(SIZE))
            .emit_strategy(EmitStrategy::OnWindowClose)
            .count(counts())
    });
    let got = out(&pipe_far_apart(&topology), SessionWindowed(Utf8));
    let want = [20_000, 220_000].map(|at| ("ann".to_owned(), at, at, Some(1)));
    assert_eq!(got, want);
}

#[test]
fn closed_windows_within_a_segment_wait_for_the_next_look() {
    let topology = topology(time_keys(), |words| {
        words
            .windowed_by(SlidingWindows::of(SIZE))
            .emit_strategy(EmitStrategy::OnWindowClose)
            .count(counts())
    });
    let driver = TopologyTestDriver::builder().emit_interval(SECOND).start(&topology).unwrap();
    pipe(&driver, "ann", 21_000);
    pipe(&driver, "bob", 22_000);
    assert_eq!(out(&driver, time_keys()), [], "this look finds nothing before 12000");
    pipe(&driver, "cid", 23_000);
    driver.advance_wall_clock(SECOND).unwrap();
    assert_eq!(out(&driver, time_keys()), [], "only a record looks");
    pipe(&driver, "cid", 23_001);
    let starts: Vec<i64> = out(&driver, time_keys()).iter().map(|row| row.1).collect();
    assert_eq!(starts, [11_000, 12_000, 13_000]);
}

#[test]
fn a_caching_session_store_forwards_at_the_commit_what_is_left_of_merges() {
    let topology = topology(SessionWindowed(Utf8), |words| {
        words.windowed_by(SessionWindows::of(SIZE)).count(counts().caching(true))
    });
    let driver = TopologyTestDriver::builder().manual_commits().start(&topology).unwrap();
    pipe(&driver, "ann", 1_000);
    pipe(&driver, "ann", 2_000);
    assert_eq!(out(&driver, SessionWindowed(Utf8)), []);
    driver.commit().unwrap();
    assert_eq!(out(&driver, SessionWindowed(Utf8)), [("ann".to_owned(), 1_000, 2_000, Some(2))]);
    pipe(&driver, "ann", 3_000);
    driver.commit().unwrap();
    let got = out(&driver, SessionWindowed(Utf8));
    let want = [(1_000, 2_000, None), (1_000, 3_000, Some(3))];
    assert_eq!(got, want.map(|(start, end, count)| ("ann".to_owned(), start, end, count)));
}

#[test]
fn a_full_buffer_that_may_not_emit_early_fails_the_task() {
    let bound = BufferConfig::max_records(1).shut_down_when_full();
    let topology = topology(time_keys(), |words| {
        let counts = words.windowed_by(TimeWindows::of(SIZE)).count(counts());
        counts.suppress(Suppressed::until_window_closes(bound).named("final"))
    });
    let driver = TopologyTestDriver::new(&topology).unwrap();
    pipe(&driver, "ann", 0);
    let full = driver.input_topic("words", Utf8, Utf8).pipe("bob", "word", 1).unwrap_err();
    assert!(full.to_string().contains("final-store is full"), "{full}");
}

#[test]
fn a_buffer_for_final_results_that_would_emit_early_does_not_build() {
    let builder = StreamsBuilder::new();
    let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    let counts = words
        .group_by_key(Grouped::with(Utf8, Utf8))
        .windowed_by(TimeWindows::of(SIZE))
        .count(counts());
    let early = Suppressed::until_window_closes(BufferConfig::max_records(1)).named("final");
    let _suppressed = counts.suppress(early);
    let Err(refused) = builder.build() else { panic!("it built") };
    assert!(refused.to_string().contains("final promises final results"), "{refused}");
}

/// Sums a table's values, whose changes are held back for ten seconds.
fn suppressed_sum(bound: BufferConfig) -> TopologyTestDriver {
    let builder = StreamsBuilder::new();
    builder
        .table("numbers", Consumed::with(Utf8, I64), Materialized::named("numbers", I64))
        .suppress(Suppressed::until_time_limit(SIZE, bound))
        .group_by(|_, number| ("all".to_owned(), *number), Grouped::with(Utf8, I64))
        .reduce(
            |sum, number| Some(sum + number),
            |sum, number| Some(sum - number),
            Materialized::named("sum", I64),
        );
    TopologyTestDriver::new(&builder.build().unwrap()).unwrap()
}

fn sum(driver: &TopologyTestDriver) -> Option<i64> {
    driver.get::<String, i64>("sum", &"all".to_owned()).unwrap()
}

#[test]
fn what_a_suppressed_change_replaces_is_what_came_out_last() {
    let driver = suppressed_sum(BufferConfig::unbounded());
    let numbers = driver.input_topic("numbers", Utf8, I64);
    for (key, number, at_ms) in [("a", 1, 0), ("a", 2, 1), ("b", 5, 10_000)] {
        numbers.pipe(key, number, at_ms).unwrap();
    }
    assert_eq!(sum(&driver), Some(2));
    for (key, number, at_ms) in [("a", 7, 10_001), ("a", 8, 10_002), ("c", 0, 30_000)] {
        numbers.pipe(key, number, at_ms).unwrap();
    }
    assert_eq!(sum(&driver), Some(13), "8 of a, and 5 of b");
}

#[test]
fn a_buffer_over_its_bytes_lets_the_earliest_change_out() {
    let driver = suppressed_sum(BufferConfig::max_bytes(60));
    let numbers = driver.input_topic("numbers", Utf8, I64);
    numbers.pipe("a", 1, 0).unwrap();
    assert_eq!(sum(&driver), None);
    numbers.pipe("b", 2, 1).unwrap();
    assert_eq!(sum(&driver), Some(1));
}
