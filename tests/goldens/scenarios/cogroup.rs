//! Streams aggregated together.

use tidemill::prelude::*;

use super::notation::{TEXT, Text, consumed, cut, grouped, n, s};
use super::sessions::session_windows;
use super::sliding::sliding_windows;
use super::windows::time_windows;
use super::{Declare, Shown};
use crate::golden::Params;

pub fn find(name: &str) -> Option<Declare> {
    Some(match name {
        "cogroup" => plain,
        "cogroup_windowed" => windowed,
        _ => return None,
    })
}

fn cogrouped(builder: &StreamsBuilder) -> CogroupedStream<Text, String> {
    let right = builder.stream("right", consumed()).group_by_key(grouped());
    builder
        .stream("left", consumed())
        .group_by_key(grouped())
        .cogroup(|_, v: &Text, so_far: String| Some(cut(&format!("{so_far}+{}", s(v)))))
        .cogroup(&right, |_, v, so_far| {
            (n(v) % 10 != 9).then(|| cut(&format!("{so_far}-{}", s(v))))
        })
}

fn materialized() -> Materialized<String> {
    Materialized::named("cg", Utf8)
}

fn plain(builder: &StreamsBuilder, _: &Params) -> Shown {
    cogrouped(builder)
        .aggregate(String::new, materialized())
        .to_stream()
        .to("out", Produced::with(TEXT, Nullable(Utf8)));
    Shown::text().store::<Text, String>("cg")
}

fn windowed(builder: &StreamsBuilder, params: &Params) -> Shown {
    let (cogrouped, size_ms) = (cogrouped(builder), params.ms("size_ms"));
    let shown = Shown::text().store::<Text, String>("cg");
    let table = match params.text("kind") {
        "session" => {
            let merge = |_: &Text, a: String, b: &String| Some(cut(&format!("{a}|{b}")));
            let windowed = cogrouped.windowed_by(session_windows(params));
            let table = windowed.aggregate(String::new, merge, materialized());
            table.to_stream().to("out", Produced::with(SessionWindowed(TEXT), Nullable(Utf8)));
            return shown.sessions("out", false);
        }
        "sliding" => {
            cogrouped.windowed_by(sliding_windows(params)).aggregate(String::new, materialized())
        }
        _ => cogrouped.windowed_by(time_windows(params)).aggregate(String::new, materialized()),
    };
    table.to_stream().to("out", Produced::with(TimeWindowed::new(TEXT, size_ms), Nullable(Utf8)));
    shown.time_windows("out", size_ms, false)
}
