//! Results held back until they are final: emit on close, and suppress.

use std::time::Duration;

use tidemill::prelude::*;

use super::notation::{TEXT, Text, consumed, grouped};
use super::sessions::session_windows;
use super::sliding::sliding_windows;
use super::windows::{materialized, time_windows};
use super::{Declare, Shown};
use crate::golden::Params;

pub fn find(name: &str) -> Option<Declare> {
    Some(match name {
        "emit_on_close_time" | "emit_on_close_session" => emit_on_close,
        "suppress_until_window_closes_time" | "suppress_until_window_closes_session" => suppress,
        _ => return None,
    })
}

fn by_key(builder: &StreamsBuilder) -> KGroupedStream<Text, Text> {
    builder.stream("in", consumed()).group_by_key(grouped())
}

fn emit_on_close(builder: &StreamsBuilder, params: &Params) -> Shown {
    let emit = EmitStrategy::OnWindowClose;
    let store = Materialized::named("w", I64).retention(Duration::from_secs(3600));
    let counts = match params.text("kind") {
        "session" => {
            by_key(builder).windowed_by(session_windows(params)).emit_strategy(emit).count(store)
        }
        "sliding" => {
            by_key(builder).windowed_by(sliding_windows(params)).emit_strategy(emit).count(store)
        }
        _ => by_key(builder).windowed_by(time_windows(params)).emit_strategy(emit).count(store),
    };
    shown(&counts, params)
}

fn suppress(builder: &StreamsBuilder, params: &Params) -> Shown {
    let counts = match params.text("kind") {
        "session" => {
            by_key(builder).windowed_by(session_windows(params)).count(materialized(params))
        }
        "sliding" => {
            by_key(builder).windowed_by(sliding_windows(params)).count(materialized(params))
        }
        _ => by_key(builder).windowed_by(time_windows(params)).count(materialized(params)),
    };
    let until_closed = Suppressed::until_window_closes(BufferConfig::unbounded()).named("sup");
    shown(&counts.suppress(until_closed), params)
}

/// Writes the counts out, under keys of the windows' kind.
fn shown(counts: &KTable<Windowed<Text>, i64>, params: &Params) -> Shown {
    let (size_ms, counts) = (params.ms("size_ms"), counts.to_stream());
    let shown = Shown::text().store::<Text, i64>("w");
    if params.text("kind") == "session" {
        counts.to("out", Produced::with(SessionWindowed(TEXT), Nullable(I64)));
        return shown.sessions("out", true);
    }
    counts.to("out", Produced::with(TimeWindowed::new(TEXT, size_ms), Nullable(I64)));
    shown.time_windows("out", size_ms, true)
}
