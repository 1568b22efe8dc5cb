//! Joins of a stream: with a stream, a table, a global table.

use tidemill::prelude::*;

use super::notation::{TEXT, Text, consumed, produced, s};
use super::{Declare, Shown};
use crate::golden::Params;

pub fn find(name: &str) -> Option<Declare> {
    Some(match name {
        "stream_stream_join_inner" => inner,
        "stream_stream_join_left" => left,
        "stream_stream_join_outer" => outer,
        "stream_stream_self_join" => with_itself,
        "stream_table_join_inner" | "stream_table_join_inner_grace" => inner_table,
        "stream_table_join_left" | "stream_table_join_left_grace" => left_table,
        "stream_global_table_join_inner" => inner_global,
        "stream_global_table_join_left" => left_global,
        _ => return None,
    })
}

/// A side that may be missing, as text or "null".
fn or_null(side: Option<&Text>) -> &str {
    side.map_or("null", s)
}

fn windows(params: &Params) -> JoinWindows {
    JoinWindows::of(params.duration("diff_ms"))
        .before(params.duration("before_ms"))
        .after(params.duration("after_ms"))
        .grace(params.duration("grace_ms"))
}

fn joined() -> StreamJoined<Text, Text, Text> {
    StreamJoined::with(TEXT, TEXT, TEXT).store_name("j")
}

fn shown(stores: [&str; 2]) -> Shown {
    stores.iter().fold(Shown::text(), |shown, store| shown.store::<Text, Text>(store))
}

fn inner(builder: &StreamsBuilder, params: &Params) -> Shown {
    let (left, right) = (builder.stream("left", consumed()), builder.stream("right", consumed()));
    left.join_stream(
        &right,
        |_, l, r| Some(format!("{}/{}", s(l), s(r))),
        windows(params),
        joined(),
    )
    .to("out", produced());
    shown(["j-this-join-store", "j-other-join-store"])
}

fn left(builder: &StreamsBuilder, params: &Params) -> Shown {
    let (left, right) = (builder.stream("left", consumed()), builder.stream("right", consumed()));
    left.left_join_stream(
        &right,
        |_, l, r| Some(format!("{}/{}", s(l), or_null(r))),
        windows(params),
        joined(),
    )
    .to("out", produced());
    shown(["j-this-join-store", "j-outer-other-join-store"])
}

fn outer(builder: &StreamsBuilder, params: &Params) -> Shown {
    let (left, right) = (builder.stream("left", consumed()), builder.stream("right", consumed()));
    let joiner = |_: &Text, l: Option<&Text>, r: Option<&Text>| {
        Some(format!("{}/{}", or_null(l), or_null(r)))
    };
    left.outer_join_stream(&right, joiner, windows(params), joined()).to("out", produced());
    shown(["j-outer-this-join-store", "j-outer-other-join-store"])
}

fn with_itself(builder: &StreamsBuilder, params: &Params) -> Shown {
    let stream = builder.stream("in", consumed());
    stream
        .join_stream(
            &stream,
            |_, l, r| Some(format!("{}/{}", s(l), s(r))),
            windows(params),
            joined(),
        )
        .to("out", produced());
    let shown = Shown::text().store::<Text, Text>("j-this-join-store");
    match params.text("optimization") {
        "none" => shown.store::<Text, Text>("j-other-join-store"),
        _ => shown,
    }
}

/// The table that streams are joined with, with history where the variant has one.
fn table(builder: &StreamsBuilder, params: &Params) -> KTable<Text, String> {
    let store = Materialized::named("t", Utf8);
    let store = match params.number("history_ms") {
        Some(_) => store.versioned(params.duration("history_ms")),
        None => store,
    };
    builder.table("right", Consumed::with(TEXT, Utf8), store)
}

fn joined_with_table(params: &Params) -> Joined<Text, Text> {
    let joined = Joined::with(TEXT, TEXT);
    match params.number("join_grace_ms") {
        Some(_) => joined.named("stj").grace(params.duration("join_grace_ms")),
        None => joined,
    }
}

fn with_right(left: &Text, right: Option<&String>) -> Text {
    Some(format!("{}/{}", s(left), right.map_or("null", String::as_str)))
}

fn inner_table(builder: &StreamsBuilder, params: &Params) -> Shown {
    let left = builder.stream("left", consumed());
    let right = table(builder, params);
    left.join(&right, |_, l, r| with_right(l, Some(r)), joined_with_table(params))
        .to("out", produced());
    Shown::text().store::<Text, String>("t")
}

fn left_table(builder: &StreamsBuilder, params: &Params) -> Shown {
    let left = builder.stream("left", consumed());
    let right = table(builder, params);
    left.left_join(&right, |_, l, r| with_right(l, r), joined_with_table(params))
        .to("out", produced());
    Shown::text().store::<Text, String>("t")
}

fn global(builder: &StreamsBuilder) -> GlobalKTable<Text, String> {
    builder.global_table("right", Consumed::with(TEXT, Utf8), Materialized::named("g", Utf8))
}

/// The global table's key for a value "L" and a number.
fn global_key(_: &Text, value: &Text) -> Option<Text> {
    let number: usize = value.as_ref()?.strip_prefix('L')?.parse().ok()?;
    Some(Some("abcde"[number % 5..=number % 5].to_owned()))
}

fn inner_global(builder: &StreamsBuilder, _: &Params) -> Shown {
    let right = global(builder);
    let left = builder.stream("left", consumed());
    left.join_global(&right, global_key, |_, l, r| with_right(l, Some(r))).to("out", produced());
    Shown::text().store::<Text, String>("g")
}

fn left_global(builder: &StreamsBuilder, _: &Params) -> Shown {
    let right = global(builder);
    let left = builder.stream("left", consumed());
    left.left_join_global(&right, global_key, |_, l, r| with_right(l, r)).to("out", produced());
    Shown::text().store::<Text, String>("g")
}
