//! The text that a task commits beside an input's offset: how much of the pack there it has done, and
//! its clocks.
//!
//! A task's stream time and its operators' clocks decide which records are late. They travel with
//! the offsets of the same transaction, so after a crash they are as old as the state, never older.
//!
//! | form | meaning |
//! |---|---|
//! | `1:` clocks | nothing of the record at the offset is done |
//! | `2:` number `:` clocks | so many records are done of the [pack](super::pack) that lies at the offset |
//!
//! The clocks, in ms, are decimal numbers, comma-separated, each after the first as its difference to
//! the first; `-` where a clock has seen nothing. Behind a number there may be none.

use tidemill_topology::time::Timestamp;

/// Kafka's default bound of a commit's metadata is 4,096 bytes.
const MAX_BYTES: usize = 4_000;

/// What a task commits beside an input's offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitMetadata {
    /// How many records are done of the pack that lies at the offset.
    pub done: u32,
    /// The task's clocks; empty where they say nothing, or there was no room for them.
    pub clocks: Vec<Timestamp>,
}

/// Both as text; empty when there is nothing to say. Clocks are left out if there is no room for them.
#[must_use]
pub fn encode(done: u32, clocks: &[Timestamp]) -> String {
    let clocks = clocks_as_text(clocks).filter(|text| text.len() <= MAX_BYTES);
    match (done, clocks) {
        (0, clocks) => clocks.map(|clocks| format!("1:{clocks}")).unwrap_or_default(),
        (done, clocks) => format!("2:{done}:{}", clocks.unwrap_or_default()),
    }
}

fn clocks_as_text(clocks: &[Timestamp]) -> Option<String> {
    if clocks.iter().all(|clock| *clock == Timestamp::UNKNOWN) {
        return None;
    }
    let first = clocks[0].millis();
    let rest = clocks[1..].iter().map(|clock| match *clock {
        Timestamp::UNKNOWN => "-".to_owned(),
        clock => (clock.millis().wrapping_sub(first)).to_string(),
    });
    Some(std::iter::once(first.to_string()).chain(rest).collect::<Vec<_>>().join(","))
}

/// What a text says; `None` if it is of another form.
#[must_use]
pub fn decode(text: &str) -> Option<CommitMetadata> {
    if let Some(text) = text.strip_prefix("1:") {
        return Some(CommitMetadata { done: 0, clocks: clocks_of_text(text)? });
    }
    let (done, text) = text.strip_prefix("2:")?.split_once(':')?;
    let clocks = if text.is_empty() { Vec::new() } else { clocks_of_text(text)? };
    Some(CommitMetadata { done: done.parse().ok()?, clocks })
}

fn clocks_of_text(text: &str) -> Option<Vec<Timestamp>> {
    let mut parts = text.split(',');
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
        assert_eq!(encode(0, &clocks), "1:1000,-,250,-100");
        let read = CommitMetadata { done: 0, clocks: clocks.to_vec() };
        assert_eq!(decode("1:1000,-,250,-100").unwrap(), read);
        assert_eq!(encode(0, &[Timestamp::UNKNOWN; 3]), "");
        assert_eq!(decode("something of the user's"), None);
        assert_eq!(encode(0, &vec![Timestamp::new(i64::MAX / 3); 5_000]), "");
    }

    #[test]
    fn what_is_done_of_a_pack_is_told_whether_or_not_the_clocks_are() {
        let clocks = [1_000, 900].map(Timestamp::new);
        assert_eq!(encode(7, &clocks), "2:7:1000,-100");
        let read = CommitMetadata { done: 7, clocks: clocks.to_vec() };
        assert_eq!(decode("2:7:1000,-100").unwrap(), read);
        assert_eq!(encode(7, &[Timestamp::UNKNOWN]), "2:7:");
        assert_eq!(encode(7, &vec![Timestamp::new(i64::MAX / 3); 5_000]), "2:7:");
        assert_eq!(decode("2:7:").unwrap(), CommitMetadata { done: 7, clocks: Vec::new() });
        assert_eq!(decode("2::1"), None);
    }
}
