//! Two subtopologies: a stream is repartitioned, joined with another, and counted by window.
//!
//! Which of two records comes first depends on how the threads meet, the set of all pairs does
//! not: the windows are wide enough for every pair. A window's counts come out as 1, 2, 3, ...

use std::collections::BTreeMap;
use std::time::Duration;

use tidemill_topology::prelude::*;

use super::{Input, Outputs, Scenario};
use crate::random::Random;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "joins",
    about: "a repartition, a stream-stream join and a windowed count over two subtopologies",
    topology,
    topics: &["lefts", "rights", "pairs", "windows"],
    input,
    check,
};

const HOUR: Duration = Duration::from_secs(3600);
const WINDOW_MS: i64 = 500;

fn topology() -> Topology {
    let builder = StreamsBuilder::new();
    let lefts = builder
        .stream("lefts", Consumed::with(Utf8, Utf8))
        .select_key(|_, value| value.split(' ').next().unwrap_or_default().to_owned());
    let rights = builder.stream("rights", Consumed::with(Utf8, Utf8));
    lefts
        .join_stream(
            &rights,
            |_, left, right| format!("{left} {right}"),
            JoinWindows::of(HOUR).grace(HOUR),
            StreamJoined::with(Utf8, Utf8, Utf8).store_name("halves"),
        )
        .to("pairs", Produced::with(Utf8, Utf8));
    lefts
        .group_by_key(Grouped::with(Utf8, Utf8))
        .windowed_by(TimeWindows::of(Duration::from_millis(WINDOW_MS.unsigned_abs())).grace(HOUR))
        .count(Materialized::named("window-counts", I64).retention(HOUR * 3))
        .to_stream()
        .map(|windowed, count| {
            let text = count.map(|count| count.to_string()).unwrap_or_default();
            (format!("{}@{}", windowed.key, windowed.window.start.millis()), text)
        })
        .to("windows", Produced::with(Utf8, Utf8));
    builder.build().expect("a sound topology")
}

fn input(random: &mut Random, number: u64) -> Input {
    let key = format!("k{}", random.below(10));
    let at_ms = number.cast_signed() * 10;
    if random.chance(500) {
        let value = Some(format!("{key} l{number}"));
        Input { topic: "lefts", key: format!("x{}", random.below(50)), value, at_ms }
    } else {
        Input { topic: "rights", key, value: Some(format!("r{number}")), at_ms }
    }
}

fn check(outputs: &Outputs<'_>) -> Result<(), String> {
    let mut lefts: BTreeMap<Vec<u8>, Vec<(String, i64)>> = BTreeMap::new();
    for data in outputs.records("lefts") {
        let value = String::from_utf8_lossy(data.value.as_deref().unwrap_or_default()).into_owned();
        let key = value.split(' ').next().unwrap_or_default().as_bytes().to_vec();
        lefts.entry(key).or_default().push((value, data.timestamp.millis()));
    }
    let rights = outputs.by_key("rights");
    let mut want = Vec::new();
    for (key, lefts) in &lefts {
        for right in rights.get(key).into_iter().flatten().flatten() {
            want.extend(lefts.iter().map(|(left, _)| (key.clone(), format!("{left} {right}"))));
        }
    }
    let mut got: Vec<(Vec<u8>, String)> = Vec::new();
    for (key, values) in outputs.by_key("pairs") {
        got.extend(values.into_iter().flatten().map(|value| (key.clone(), value)));
    }
    want.sort_unstable();
    got.sort_unstable();
    if got != want {
        let missing = want.iter().find(|pair| got.binary_search(pair).is_err());
        let double = got.windows(2).find(|two| two[0] == two[1]).map(|two| &two[0].1);
        return Err(format!(
            "pairs: {} came out, the model has {}; missing, for instance: {:?}; twice: {double:?}",
            got.len(),
            want.len(),
            missing.map(|pair| &pair.1)
        ));
    }
    check_windows(outputs, &lefts)
}

fn check_windows(
    outputs: &Outputs<'_>,
    lefts: &BTreeMap<Vec<u8>, Vec<(String, i64)>>,
) -> Result<(), String> {
    let mut want: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for (key, lefts) in lefts {
        for (_, at) in lefts {
            let start = at - at.rem_euclid(WINDOW_MS);
            let name = format!("{}@{start}", super::shown(key)).into_bytes();
            *want.entry(name).or_default() += 1;
        }
    }
    let got = outputs.by_key("windows");
    if let Some(key) = got.keys().find(|key| !want.contains_key(*key)) {
        return Err(format!("windows: {} comes from nowhere", super::shown(key)));
    }
    for (key, count) in &want {
        let want: Vec<Option<String>> =
            (1..=*count).map(|number| Some(number.to_string())).collect();
        super::compare("windows", key, got.get(key).map_or(&[], Vec::as_slice), &want)?;
    }
    Ok(())
}
