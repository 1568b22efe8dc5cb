//! The text that a task commits beside an input's offset: its clocks.
//!
//! A task's stream time and its operators' clocks decide which records are late. They travel with
//! the offsets of the same transaction, so after a crash they are as old as the state, never older.
//!
//! Form: `1:` and the clocks in ms as decimal numbers, comma-separated, each after the first as its
//! difference to the first; `-` where a clock has seen nothing.

use tidemill_topology::time::Timestamp;

/// Kafka's default bound of a commit's metadata is 4,096 bytes.
const MAX_BYTES: usize = 4_000;

/// The clocks as text; empty when there is nothing to say, or no room for it.
#[must_use]
pub fn encode(clocks: &[Timestamp]) -> String {
    if clocks.iter().all(|clock| *clock == Timestamp::UNKNOWN) {
        return String::new();
    }
    let first = clocks[0].millis();
    let rest = clocks[1..].iter().map(|clock| match *clock {
        Timestamp::UNKNOWN => "-".to_owned(),
        clock => (clock.millis().wrapping_sub(first)).to_string(),
    });
    let text = std::iter::once(format!("1:{first}")).chain(rest).collect::<Vec<_>>().join(",");
    if text.len() > MAX_BYTES { String::new() } else { text }
}

/// The clocks of a text; `None` if it is of another form.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<Timestamp>> {
    let mut parts = text.strip_prefix("1:")?.split(',');
    let first: i64 = parts.next()?.parse().ok()?;
    let rest = parts.map(|part| match part {
        "-" => Some(Timestamp::UNKNOWN),
        part => Some(Timestamp::new(part.parse::<i64>().ok()?.wrapping_add(first))),
    });
    std::iter::once(Some(Timestamp::new(first))).chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_survive_as_text() {
        let clocks = [1_000, -1, 1_250, 900].map(Timestamp::new);
        assert_eq!(encode(&clocks), "1:1000,-,250,-100");
        assert_eq!(decode("1:1000,-,250,-100").unwrap(), clocks);
        assert_eq!(encode(&[Timestamp::UNKNOWN; 3]), "");
        assert_eq!(decode("something of the user's"), None);
        assert_eq!(encode(&vec![Timestamp::new(i64::MAX / 3); 5_000]), "");
    }
}
