//! Bytes: the default partitioner, and what windowed keys look like in topics.

use serde_json::Value;
use tidemill::prelude::*;
use tidemill_topology::partition::{by_key, murmur2};

use super::golden::from_hex;

/// What differs in one file.
pub fn check(name: &str, text: &str) -> Vec<String> {
    let file: Value = match serde_json::from_str(text) {
        Ok(file) => file,
        Err(error) => return vec![format!("is no JSON: {error}")],
    };
    match name.rsplit('/').next() {
        Some("partitioning.json") => list(&file).iter().filter_map(partitioning).collect(),
        Some("store_keys.json") => list(&file["formats"]).iter().filter_map(format).collect(),
        _ => vec!["unknown file of formats".to_owned()],
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn partitioning(row: &Value) -> Option<String> {
    let hex = row["key_hex"].as_str()?;
    let key = from_hex(hex);
    // The files show the hash as Java's signed number.
    let hash = i64::from(murmur2(&key).cast_signed());
    if row["murmur2"] != hash {
        return Some(format!("murmur2 of {hex} is {}, not {hash}", row["murmur2"]));
    }
    let partitions = row["partition"].as_object()?;
    partitions.iter().find_map(|(count, want)| {
        let got = by_key(&key, count.parse().ok()?);
        (*want != got).then(|| format!("{hex} goes to partition {want} of {count}, not {got}"))
    })
}

/// The formats that topics have; those of Kafka's own stores are for information.
fn format(row: &Value) -> Option<String> {
    let of = &row["of"];
    let at = |name: &str| Timestamp::new(of[name].as_i64().unwrap_or_default());
    let window = Window { start: at("start"), end: at("end") };
    let key = Windowed { key: of["key"].as_str().unwrap_or_default().to_owned(), window };
    let mut bytes = Vec::new();
    match row["format"].as_str()? {
        "time_windowed_topic_key" => {
            TimeWindowed::new(Utf8, window.end - window.start).serialize(&key, &mut bytes)
        }
        "session_windowed_topic_key" => SessionWindowed(Utf8).serialize(&key, &mut bytes),
        _ => return None,
    }
    .err()
    .map(|error| error.to_string())
    .or_else(|| {
        let want = row["hex"].as_str()?;
        (bytes != from_hex(want)).then(|| format!("{of} is written as {bytes:02x?}, not {want}"))
    })
}
