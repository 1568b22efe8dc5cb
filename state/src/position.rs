//! How far a store is: the position in its changelog that its backend covers, and the inputs'
//! offsets of the commit it came from.
//!
//! Both live in the database of the task, beside the entries, and change in the same batch.
//!
//! | key | value |
//! |---|---|
//! | `p`, store name | 1 B version (1), 8 B next offset, 4 B leader epoch (-1: unknown), 8 B caught up at, 16 B topic id (zero: unknown) |
//! | `i`, topic name, 4 B partition | 8 B next offset |
//! | `l`, store name | the store's layout as text |
//!
//! Numbers are big-endian.

/// A place in a changelog, with what tells whether it is still the same changelog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The next offset to read.
    pub offset: i64,
    /// Id of the topic; another id under the same name is another topic.
    pub topic_id: Option<[u8; 16]>,
    /// Leader epoch of the last record read, which shows a log that was cut off and regrown.
    pub leader_epoch: Option<i32>,
    /// Wall clock time, in ms since the Unix epoch, at which the store last had everything: older
    /// than the changelog's tombstone retention, and deletions may have been missed.
    pub caught_up_at_ms: i64,
}

/// Where a task continues to read one of its input partitions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InputOffset {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The next offset to read.
    pub offset: i64,
}

const VERSION: u8 = 1;
const LEN: usize = 37;

impl Position {
    /// The position's bytes; see the [module](self).
    #[must_use]
    pub fn to_bytes(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[0] = VERSION;
        bytes[1..9].copy_from_slice(&self.offset.to_be_bytes());
        bytes[9..13].copy_from_slice(&self.leader_epoch.unwrap_or(-1).to_be_bytes());
        bytes[13..21].copy_from_slice(&self.caught_up_at_ms.to_be_bytes());
        bytes[21..37].copy_from_slice(&self.topic_id.unwrap_or_default());
        bytes
    }

    /// The position of these bytes; `None` if they are no position of a known version.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&VERSION, rest) = bytes.split_first()? else { return None };
        let (offset, rest) = rest.split_first_chunk()?;
        let (leader_epoch, rest) = rest.split_first_chunk()?;
        let (caught_up_at_ms, rest) = rest.split_first_chunk()?;
        let topic_id: [u8; 16] = rest.try_into().ok()?;
        let leader_epoch = i32::from_be_bytes(*leader_epoch);
        Some(Self {
            offset: i64::from_be_bytes(*offset),
            topic_id: (topic_id != [0; 16]).then_some(topic_id),
            leader_epoch: (leader_epoch >= 0).then_some(leader_epoch),
            caught_up_at_ms: i64::from_be_bytes(*caught_up_at_ms),
        })
    }
}

/// First byte of a position's key.
const POSITION: u8 = b'p';
/// First byte of an input offset's key.
pub(crate) const INPUT: u8 = b'i';
/// First byte of a layout's key.
const LAYOUT: u8 = b'l';

pub(crate) fn position_key(store: &str) -> Vec<u8> {
    [&[POSITION], store.as_bytes()].concat()
}

pub(crate) fn layout_key(store: &str) -> Vec<u8> {
    [&[LAYOUT], store.as_bytes()].concat()
}

impl InputOffset {
    pub(crate) fn key(&self) -> Vec<u8> {
        [&[INPUT], self.topic.as_bytes(), &self.partition.to_be_bytes()].concat()
    }

    pub(crate) fn value(&self) -> [u8; 8] {
        self.offset.to_be_bytes()
    }

    pub(crate) fn from_bytes(key: &[u8], value: &[u8]) -> Option<Self> {
        let (&INPUT, rest) = key.split_first()? else { return None };
        let (topic, partition) = rest.split_last_chunk()?;
        Some(Self {
            topic: String::from_utf8(topic.to_vec()).ok()?,
            partition: i32::from_be_bytes(*partition),
            offset: i64::from_be_bytes(value.try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_has_its_golden_bytes() {
        let position = Position {
            offset: 0x0102_0304,
            topic_id: Some(*b"0123456789abcdef"),
            leader_epoch: Some(7),
            caught_up_at_ms: 1_700_000_000_000,
        };
        let golden = [
            &[1, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 7, 0, 0, 1, 139, 207, 229, 104, 0][..],
            b"0123456789abcdef",
        ]
        .concat();
        assert_eq!(position.to_bytes()[..], golden);
        assert_eq!(Position::from_bytes(&golden), Some(position));
    }

    #[test]
    fn what_is_unknown_of_a_position_stays_unknown() {
        let position =
            Position { offset: 5, topic_id: None, leader_epoch: None, caught_up_at_ms: -1 };
        let bytes = position.to_bytes();
        assert_eq!(bytes[9..13], [255; 4]);
        assert_eq!(Position::from_bytes(&bytes), Some(position));
    }

    #[test]
    fn bytes_of_another_version_or_length_are_no_position() {
        let position =
            Position { offset: 5, topic_id: None, leader_epoch: None, caught_up_at_ms: 0 };
        let mut bytes = position.to_bytes();
        assert_eq!(Position::from_bytes(&bytes[..36]), None);
        bytes[0] = 2;
        assert_eq!(Position::from_bytes(&bytes), None);
        assert_eq!(Position::from_bytes(&[]), None);
    }

    #[test]
    fn an_input_offset_has_its_golden_bytes() {
        let input = InputOffset { topic: "in".into(), partition: 3, offset: 258 };
        assert_eq!(input.key(), b"iin\0\0\0\x03");
        assert_eq!(input.value(), [0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(InputOffset::from_bytes(&input.key(), &input.value()), Some(input));
    }
}
