//! Session windows.

use tidemill::prelude::*;

use super::notation::{TEXT, Text, consumed, cut, grouped, n, s};
use super::windows::materialized;
use super::{Declare, Shown};
use crate::golden::Params;

pub fn find(name: &str) -> Option<Declare> {
    Some(match name {
        "session_count" => count,
        "session_reduce" => reduce,
        "session_aggregate" => aggregate,
        _ => return None,
    })
}

/// The sessions that a variant's parameters describe.
pub fn session_windows(params: &Params) -> SessionWindows {
    SessionWindows::of(params.duration("size_ms")).grace(params.duration("grace_ms"))
}

fn by_session(builder: &StreamsBuilder, params: &Params) -> SessionWindowedStream<Text, Text> {
    builder.stream("in", consumed()).group_by_key(grouped()).windowed_by(session_windows(params))
}

fn count(builder: &StreamsBuilder, params: &Params) -> Shown {
    by_session(builder, params)
        .count(materialized(params))
        .to_stream()
        .to("out", Produced::with(SessionWindowed(TEXT), Nullable(I64)));
    Shown::text().sessions("out", true).store::<Text, i64>("w")
}

fn reduce(builder: &StreamsBuilder, params: &Params) -> Shown {
    by_session(builder, params)
        .reduce(
            |so_far, v| Some(Some(cut(&format!("{}+{}", s(so_far), s(v))))),
            Materialized::named("w", TEXT),
        )
        .to_stream()
        .to("out", Produced::with(SessionWindowed(TEXT), Nullable(TEXT)));
    Shown::text().sessions("out", false).store::<Text, Text>("w")
}

fn aggregate(builder: &StreamsBuilder, params: &Params) -> Shown {
    by_session(builder, params)
        .aggregate(
            || "i".to_owned(),
            |_, v, so_far| (n(v) % 10 != 9).then(|| cut(&format!("{so_far}+{}", s(v)))),
            |_, so_far, other| Some(cut(&format!("{so_far}|{other}"))),
            Materialized::named("w", Utf8),
        )
        .to_stream()
        .to("out", Produced::with(SessionWindowed(TEXT), Nullable(Utf8)));
    Shown::text().sessions("out", false).store::<Text, String>("w")
}
