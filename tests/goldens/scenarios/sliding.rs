//! Sliding windows.

use tidemill::prelude::*;

use super::notation::{TEXT, Text, consumed, cut, grouped, s};
use super::windows::materialized;
use super::{Declare, Shown};
use crate::golden::Params;

pub fn find(name: &str) -> Option<Declare> {
    Some(match name {
        "sliding_count" => count,
        "sliding_reduce" => reduce,
        _ => return None,
    })
}

/// The windows that a variant's parameters describe.
pub fn sliding_windows(params: &Params) -> SlidingWindows {
    SlidingWindows::of(params.duration("size_ms")).grace(params.duration("grace_ms"))
}

fn count(builder: &StreamsBuilder, params: &Params) -> Shown {
    builder
        .stream("in", consumed())
        .group_by_key(grouped())
        .windowed_by(sliding_windows(params))
        .count(materialized(params))
        .to_stream()
        .to("out", Produced::with(TimeWindowed::new(TEXT, params.ms("size_ms")), Nullable(I64)));
    Shown::text().time_windows("out", params.ms("size_ms"), true).store::<Text, i64>("w")
}

fn reduce(builder: &StreamsBuilder, params: &Params) -> Shown {
    builder
        .stream("in", consumed())
        .group_by_key(grouped())
        .windowed_by(sliding_windows(params))
        .reduce(
            |so_far, v| Some(Some(cut(&format!("{}+{}", s(so_far), s(v))))),
            Materialized::named("w", TEXT),
        )
        .to_stream()
        .to("out", Produced::with(TimeWindowed::new(TEXT, params.ms("size_ms")), Nullable(TEXT)));
    Shown::text().time_windows("out", params.ms("size_ms"), false).store::<Text, Text>("w")
}
