//! Records that cannot be read or processed, and their dead letters.

use tidemill::prelude::*;
use tidemill_topology::handler::NamedError;
use tidemill_topology::node::SinkTopic;

use super::notation::{TEXT, Text, consumed, grouped, n, produced, s};
use super::{Declare, Shown};
use crate::golden::Params;

pub fn find(name: &str) -> Option<Declare> {
    Some(match name {
        "deserialization_error_continue" => deserialization_error,
        "processing_exception_continue" => processing_exception,
        _ => return None,
    })
}

/// Handlers that go on, with the variant's dead-letter topic.
fn handlers(params: &Params) -> Handlers {
    let dead_letter_topic =
        params.flag("dlq").then(|| SinkTopic { name: "dlq".into(), internal: false });
    Handlers { dead_letter_topic, ..Handlers::all(HandlerDecision::Continue) }
}

fn deserialization_error(builder: &StreamsBuilder, params: &Params) -> Shown {
    builder
        .stream("in", Consumed::with(TEXT, Nullable(I64)))
        .map_values(|v| v.map(|v| (v * 2).to_string()))
        .to("out", produced());
    Shown::text().hex("dlq").handlers(handlers(params))
}

fn failure(message: String) -> Cause {
    NamedError { name: "java.lang.IllegalStateException".to_owned(), message }.into()
}

fn processing_exception(builder: &StreamsBuilder, params: &Params) -> Shown {
    let x = builder.stream("in", consumed());
    let a = x.try_map_values(|_, v: &Text| match n(v) % 7 {
        0 => Err(failure(format!("bad {}", s(v)))),
        _ => Ok(Some(format!("a{}", s(v)))),
    });
    a.to("out-a", produced());
    a.group_by_key(grouped())
        .count(Materialized::named("counts", I64))
        .to_stream()
        .try_map_values(|_, count| match count {
            Some(count) if count % 4 == 0 => Err(failure("four".to_owned())),
            count => Ok(count.map(|count| count.to_string())),
        })
        .to("out-c", produced());
    x.map_values(|v| Some(format!("x{}", s(v)))).to("out-x", produced());
    Shown::text().hex("dlq").handlers(handlers(params)).store::<Text, i64>("counts")
}
