//! The parsers that meet bytes from outside.

use bytes::Bytes;
use hyper::http;
use tidemill::config::Config;
use tidemill::exchange::store_format::read_entry;
use tidemill::exchange::{Order, decode_order, encode_order};
use tidemill::http::request::Request;
use tidemill::kafka::{Message, Offset};
use tidemill::operations::dead_letters::DeadLetter;
use tidemill::prelude::*;
use tidemill::runtime::commit_metadata;
use tidemill::runtime::pack::{self, Packed, Packer, Reader};
use tidemill_topology::record::{Header, Headers};
use tidemill_topology::store::spec::{ChangelogEntry, Restored};

/// A parser and what it is called.
pub struct Target {
    /// Its name, and its corpus's folder.
    pub name: &'static str,
    /// Which bytes it meets.
    pub about: &'static str,
    /// Parses; says what became of the input. Panics where a promise is broken.
    pub run: fn(&[u8]) -> String,
}

/// All of them.
pub static TARGETS: &[Target] = &[
    Target {
        name: "orders",
        about: "values of the orders topic and bodies of POST /orders",
        run: orders,
    },
    Target {
        name: "pack",
        about: "records that travel together between subtopologies",
        run: packed,
    },
    Target { name: "order-layout", about: "orders between subtopologies", run: order_layout },
    Target {
        name: "changelog",
        about: "keys and values of changelogs, for every kind of store",
        run: changelog,
    },
    Target { name: "headers", about: "headers of dead letters", run: headers },
    Target { name: "commit-metadata", about: "the text beside committed offsets", run: metadata },
    Target { name: "http", about: "paths and queries of HTTP requests", run: http },
    Target { name: "config", about: "configuration files", run: config },
];

fn said<T>(result: Result<T, impl std::fmt::Display>) -> String {
    result.map_or_else(|error| format!("error: {error}"), |_| "fine".to_owned())
}

fn orders(input: &[u8]) -> String {
    let order = Order::from_json(input);
    if let Ok(order) = &order {
        let mut json = Vec::new();
        order.write_json(&mut json);
        let again = Order::from_json(&json);
        assert_eq!(again.as_ref().ok(), Some(order), "{}", String::from_utf8_lossy(&json));
    }
    said(order)
}

/// What is taken for a pack can be read to its end, and says the same once packed again.
fn packed(input: &[u8]) -> String {
    let Some(contents) = pack::check(&pack::headers(), input) else { return "no pack".to_owned() };
    let records = |pack: &[u8]| {
        let (mut records, mut reader) = (Vec::new(), Reader::new(pack).expect("a pack"));
        while !reader.is_at_end() {
            let mut headers = Headers::new();
            let add = |name: &str, value: Option<&[u8]>| {
                headers.push(name, value.map(<[u8]>::to_vec));
            };
            let record = reader.next(add).expect("a record");
            let (key, value) = (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec));
            records.push((key, value, record.timestamp, headers));
        }
        records
    };
    let found = records(input);
    assert_eq!(found.len(), contents.records as usize);
    let mut packer = Packer::default();
    for (key, value, timestamp, headers) in &found {
        let record = Packed { key: key.as_deref(), value: value.as_deref(), timestamp: *timestamp };
        packer.push(record, headers);
    }
    assert_eq!(records(packer.bytes()), found);
    let traced = found.iter().any(|(.., headers)| !headers.is_empty());
    let null = found.iter().any(|(key, value, ..)| key.is_none() || value.is_none());
    let many = if found.len() > 1 { "many" } else { "one" };
    format!("{many} traced {traced} null {null}")
}

fn order_layout(input: &[u8]) -> String {
    let order = decode_order(input);
    if let Ok(order) = &order {
        let mut bytes = Vec::new();
        encode_order(order, &mut bytes);
        assert_eq!(decode_order(&bytes).ok().as_ref(), Some(order));
    }
    said(order)
}

/// First byte: where the key ends. The rest: key and value.
fn changelog(input: &[u8]) -> String {
    let Some((length, rest)) = input.split_first() else { return "empty".to_owned() };
    let (key, value) = rest.split_at(usize::from(*length).min(rest.len()));
    let (window_ms, retention_ms, segment_ms) = (1_000, 10_000, 5_000);
    let kinds = [
        StoreKind::KeyValue,
        StoreKind::TimestampedKeyValue,
        StoreKind::Window { window_ms, retention_ms, segment_ms },
        StoreKind::TimestampedWindow { window_ms, retention_ms, segment_ms },
        StoreKind::Session { retention_ms, segment_ms },
        StoreKind::Versioned { history_ms: retention_ms },
    ];
    let mut words = String::new();
    for kind in kinds {
        for value in [Some(value), None] {
            let (mut stored_key, mut stored) = (Vec::new(), Vec::new());
            let timestamp = Timestamp::new(key.len() as i64);
            let entry = ChangelogEntry { key, value, timestamp };
            let restored = kind.restore(entry, &mut stored_key, &mut stored);
            words.push_str(match restored {
                Some(Restored::Put) => "p",
                Some(Restored::Delete) => "d",
                None => "n",
            });
        }
    }
    words + " " + &said(read_entry(key, value))
}

/// Each line is a header: its name, `=`, its value; without `=` it is null.
fn headers(input: &[u8]) -> String {
    struct Letter(Headers);

    impl Message for Letter {
        fn partition(&self) -> i32 {
            0
        }
        fn offset(&self) -> Offset {
            Offset::ZERO
        }
        fn timestamp(&self) -> Timestamp {
            Timestamp::UNKNOWN
        }
        fn key(&self) -> Option<&[u8]> {
            None
        }
        fn value(&self) -> Option<&[u8]> {
            None
        }
        fn leader_epoch(&self) -> Option<i32> {
            None
        }
        fn read_headers(&self, headers: &mut Headers) {
            *headers = self.0.clone();
        }
    }

    let lines = input.split(|byte| *byte == b'\n').map(|line| {
        let mut parts = line.splitn(2, |byte| *byte == b'=');
        let name = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
        Header { name, value: parts.next().map(<[u8]>::to_vec) }
    });
    let letter = DeadLetter::read(0, &Letter(lines.collect()));
    let (source, error) = (letter.source, letter.error);
    format!(
        "{} {} {} {} {} {}",
        source.topic.is_some(),
        source.partition.is_some(),
        source.offset.is_some(),
        error.exception.is_empty(),
        error.message.is_empty(),
        letter.headers.len().min(4)
    )
}

fn metadata(input: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(input) else { return "no text".to_owned() };
    let Some(said) = commit_metadata::decode(text) else { return "something else".to_owned() };
    let written = commit_metadata::encode(said.done, &said.clocks);
    let again = commit_metadata::decode(&written).unwrap_or_default();
    assert_eq!(again.done, said.done);
    // What does not fit is left out as a whole; clocks that are all unset say nothing.
    assert!(again.clocks.is_empty() || again.clocks == said.clocks);
    format!("done {} clocks {}", said.done > 0, "i".repeat(said.clocks.len().min(5)))
}

fn http(input: &[u8]) -> String {
    let request = http::Request::builder().uri(input).body(());
    let Ok(request) = request else { return "no URI".to_owned() };
    let request = Request::new(request.into_parts().0, Bytes::new());
    let Ok(request) = request else { return "refused".to_owned() };
    let number = request.number("limit", 1, 1_000, 10).is_ok();
    format!("{} {number} {}", request.segments.len().min(6), request.parameter("from").is_some())
}

fn config(input: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(input) else { return "no text".to_owned() };
    // A reference to a file or variable would make the outcome depend on the machine.
    if text.contains('@') {
        return "a reference".to_owned();
    }
    said(Config::from_toml("fuzz", text))
}
