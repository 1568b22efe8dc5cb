//! Tumbling and hopping windows.

use tidemill::prelude::*;

use super::notation::{TEXT, Text, consumed, cut, grouped, s};
use super::{Declare, Shown};
use crate::golden::Params;

pub fn find(name: &str) -> Option<Declare> {
    Some(match name {
        "tumbling_count" | "hopping_count" => count,
        "window_then_table" => window_then_table,
        _ => return None,
    })
}

/// The windows that a variant's parameters describe.
pub fn time_windows(params: &Params) -> TimeWindows {
    let windows = TimeWindows::of(params.duration("size_ms")).grace(params.duration("grace_ms"));
    match params.number("advance_ms") {
        Some(_) => windows.advance_by(params.duration("advance_ms")),
        None => windows,
    }
}

/// The store of a window scenario.
pub fn materialized(params: &Params) -> Materialized<i64> {
    let store = Materialized::named("w", I64);
    match params.number("retention_ms") {
        Some(_) => store.retention(params.duration("retention_ms")),
        None => store,
    }
}

fn count(builder: &StreamsBuilder, params: &Params) -> Shown {
    builder
        .stream("in", consumed())
        .group_by_key(grouped())
        .windowed_by(time_windows(params))
        .count(materialized(params))
        .to_stream()
        .to("out", Produced::with(TimeWindowed::new(TEXT, params.ms("size_ms")), Nullable(I64)));
    Shown::text().time_windows("out", params.ms("size_ms"), true).store::<Text, i64>("w")
}

fn window_then_table(builder: &StreamsBuilder, params: &Params) -> Shown {
    let size_ms = params.ms("size_ms");
    builder
        .stream("in", consumed())
        .group_by_key(grouped())
        .windowed_by(time_windows(params))
        .count(materialized(params))
        .group_by(
            move |w, c| {
                let group = format!("{}@{}", s(&w.key), w.window.start.millis() / size_ms % 3);
                (Some(group), Some(c.to_string()))
            },
            grouped().named("grp"),
        )
        .aggregate(
            String::new,
            |_, v, so_far| Some(cut(&format!("{so_far}+{}", s(v)))),
            |_, v, so_far| Some(cut(&format!("{so_far}-{}", s(v)))),
            Materialized::named("agg", Utf8),
        )
        .to_stream()
        .to("out", Produced::with(TEXT, Nullable(Utf8)));
    Shown::text().store::<Text, String>("agg").store::<Text, i64>("w")
}
