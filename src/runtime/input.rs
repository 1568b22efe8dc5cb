//! A partition that a task reads: the records that wait, and how far it is.

use std::collections::VecDeque;
use std::fmt;

use tidemill_topology::record::Headers;
use tidemill_topology::task::InputIndex;
use tidemill_topology::time::Timestamp;

use super::idle::CaughtUp;
use super::pack::{self, Contents, Packed};
use crate::kafka::{Message, Offset, Slot, TopicPartition};
use crate::metrics::PartitionMetrics;

/// How far an input has been processed: all records before `offset`, and the first `done` of the pack
/// that lies there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The offset of the next record, or of the pack that it is in.
    pub offset: Offset,
    /// How many records of that pack come before it.
    pub done: u32,
}

impl Place {
    /// Before the record, or the pack, at an offset.
    #[must_use]
    pub fn before(offset: Offset) -> Self {
        Self { offset, done: 0 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, done } = self;
        match done {
            0 => write!(f, "{offset}"),
            _ => write!(f, "{offset}, record {} of its pack", done + 1),
        }
    }
}

/// A partition that a task reads.
pub struct Input<M> {
    /// Which partition.
    pub partition: TopicPartition,
    /// Its slot in the consumer.
    pub slot: Slot,
    /// Whether it is a repartition topic.
    pub internal: bool,
    pub(super) index: InputIndex,
    queue: VecDeque<Waiting<M>>,
    /// Records in the queue.
    waiting: usize,
    /// The next record to process; `None` until the task runs.
    pub next: Option<Place>,
    /// What the group last committed.
    pub committed: Option<Place>,
    /// What the commit under way says of it, if anything.
    pub(super) offered: Option<Place>,
    /// Whether fetching was paused since too much waits.
    pub paused: bool,
    /// Whether nothing more was to be had when last looked, so others need not wait for it.
    pub(super) drained: bool,
    /// Where its topic is counted.
    pub meter: usize,
    /// What was processed since the last commit.
    pub(super) uncommitted: Span,
    /// The timestamp of the last record processed.
    pub last_timestamp: Option<Timestamp>,
    /// Since when its broker has nothing more.
    pub(super) caught_up: CaughtUp,
    /// Its series.
    pub metrics: PartitionMetrics,
}

impl<M: Message> Input<M> {
    /// Of a task that does not run yet.
    pub(super) fn new(
        partition: TopicPartition,
        slot: Slot,
        internal: bool,
        index: InputIndex,
        metrics: PartitionMetrics,
    ) -> Self {
        Self {
            partition,
            slot,
            internal,
            index,
            queue: VecDeque::new(),
            waiting: 0,
            next: None,
            committed: None,
            offered: None,
            paused: false,
            drained: false,
            meter: 0,
            uncommitted: Span::default(),
            last_timestamp: None,
            caught_up: CaughtUp::default(),
            metrics,
        }
    }

    /// Queues a message, of which the task may have done a part before; `headers` is room to read
    /// its headers. Says what it holds.
    #[inline]
    pub(super) fn push(&mut self, message: M, headers: &mut Headers) -> Contents {
        self.caught_up.end();
        let bytes = pack::bytes_of(message.key(), message.value());
        let mut contents = Contents { records: 1, bytes };
        let mut waiting = Waiting { timestamp: message.timestamp(), message, form: Form::Alone };
        if self.internal {
            let next = self.next.filter(|next| next.offset == waiting.message.offset());
            let done = next.map_or(0, |next| next.done);
            if let Some(packed) = waiting.unpack(done, headers) {
                contents = packed;
            }
        }
        self.waiting += contents.records as usize;
        self.queue.push_back(waiting);
        contents
    }

    /// The message whose next record comes next.
    #[inline]
    pub(super) fn head(&self) -> Option<&Waiting<M>> {
        self.queue.front()
    }

    /// The timestamp of the next record that waits.
    #[must_use]
    pub fn waiting_since(&self) -> Option<Timestamp> {
        self.head().map(|head| head.timestamp)
    }

    /// Records that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// The head's next record, which ends at `end`, is done.
    #[inline]
    pub(super) fn advance(&mut self, end: usize) {
        let Some(head) = self.queue.front_mut() else { return };
        self.waiting -= 1;
        let offset = head.message.offset();
        if let Form::Packed { at, done, records } = &mut head.form {
            (*at, *done) = (end, *done + 1);
            let value = head.message.value().unwrap_or_default();
            if *done < *records
                && let Some(next) = pack::Reader::at(value, end).and_then(|rest| rest.timestamp())
            {
                head.timestamp = next;
                self.next = Some(Place { offset, done: *done });
                return;
            }
        }
        self.queue.pop_front();
        self.next = Some(Place::before(offset.next()));
    }

    /// Forgets the records that wait.
    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.waiting = 0;
    }
}

/// A message in a queue.
pub(super) struct Waiting<M> {
    message: M,
    form: Form,
    /// Of its next record.
    timestamp: Timestamp,
}

/// How a message holds records.
enum Form {
    /// It is one.
    Alone,
    /// They lie in a pack: where the next one begins, how many are done, of how many.
    Packed { at: usize, done: u32, records: u32 },
    /// It says that it is a pack, and is none that can be read.
    Unreadable,
}

impl<M: Message> Waiting<M> {
    /// Looks whether it is a pack, of which the first `done` are left out; what it then holds.
    fn unpack(&mut self, done: u32, headers: &mut Headers) -> Option<Contents> {
        self.message.read_headers(headers);
        if !pack::is_pack(headers) {
            return None;
        }
        self.form = Form::Unreadable;
        let value = self.message.value().unwrap_or_default();
        let mut contents = pack::check(headers, value)?;
        let mut rest = pack::Reader::new(value)?;
        // Of a pack without so many records nothing was done: the topic was made anew.
        let done = if done < contents.records { done } else { 0 };
        for _ in 0..done {
            rest.next(|_, _| ())?;
        }
        self.timestamp = rest.timestamp()?;
        self.form = Form::Packed { at: rest.place(), done, records: contents.records };
        contents.records -= done;
        Some(contents)
    }

    /// The place of its next record.
    #[inline]
    pub(super) fn place(&self) -> Place {
        let done = if let Form::Packed { done, .. } = self.form { done } else { 0 };
        Place { offset: self.message.offset(), done }
    }

    /// Its next record, and where that ends; its headers go to `headers`. `None` for what says that
    /// it is a pack and cannot be read.
    #[inline]
    pub(super) fn read(&self, headers: &mut Headers) -> Option<(Packed<'_>, usize)> {
        match self.form {
            Form::Alone => Some((self.read_whole(headers), 0)),
            Form::Packed { at, .. } => {
                headers.clear();
                let mut rest = pack::Reader::at(self.message.value()?, at)?;
                let record =
                    rest.next(|name, value| headers.push(name, value.map(<[u8]>::to_vec)))?;
                Some((record, rest.place()))
            }
            Form::Unreadable => None,
        }
    }

    /// The message as it came.
    pub(super) fn read_whole(&self, headers: &mut Headers) -> Packed<'_> {
        self.message.read_headers(headers);
        Packed { key: self.message.key(), value: self.message.value(), timestamp: self.timestamp }
    }
}

/// The first and the last of some records: where each topic is counted, and their timestamps.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span {
    first: Option<(usize, Timestamp)>,
    last: Option<(usize, Timestamp)>,
}

impl Span {
    #[inline]
    pub(super) fn add(&mut self, meter: usize, timestamp: Timestamp) {
        self.first.get_or_insert((meter, timestamp));
        self.last = Some((meter, timestamp));
    }

    /// Both, but for records without a timestamp.
    pub fn ends(&self) -> impl Iterator<Item = (usize, Timestamp)> {
        let known = |(_, timestamp): &(usize, Timestamp)| *timestamp != Timestamp::UNKNOWN;
        self.first.into_iter().chain(self.last).filter(known)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidemill_topology::prelude::*;

    use super::*;
    use crate::metrics::Metrics;
    use crate::runtime::pack::Packer;

    /// A message as it is fetched.
    struct Fetched {
        offset: i64,
        value: Vec<u8>,
        headers: Headers,
    }

    impl Message for Fetched {
        fn partition(&self) -> i32 {
            0
        }
        fn offset(&self) -> Offset {
            Offset(self.offset)
        }
        fn timestamp(&self) -> Timestamp {
            Timestamp::new(100)
        }
        fn key(&self) -> Option<&[u8]> {
            None
        }
        fn value(&self) -> Option<&[u8]> {
            Some(&self.value)
        }
        fn leader_epoch(&self) -> Option<i32> {
            None
        }
        fn read_headers(&self, headers: &mut Headers) {
            headers.clone_from(&self.headers);
        }
    }

    fn plain(offset: i64, value: &str) -> Fetched {
        Fetched { offset, value: value.into(), headers: Headers::new() }
    }

    fn pack(offset: i64, values: &[&str]) -> Fetched {
        let mut packer = Packer::default();
        for (at, value) in values.iter().enumerate() {
            let timestamp = Timestamp::new(at as i64);
            let record = Packed { key: None, value: Some(value.as_bytes()), timestamp };
            packer.push(record, Headers::none());
        }
        Fetched { offset, value: packer.bytes().to_vec(), headers: pack::headers() }
    }

    fn input(internal: bool, next: Place) -> Input<Fetched> {
        let metrics = Metrics::new("test", "one").unwrap().task("0_0").partition("words", 0);
        let builder = StreamsBuilder::new();
        builder.stream("words", Consumed::with(Utf8, Utf8)).to("out", Produced::with(Utf8, Utf8));
        let topology = builder.build().unwrap();
        let task = topology.task(topology.subtopologies()[0].id, Arc::default()).unwrap();
        let (partition, index) = (TopicPartition::new("words", 0), task.input("words").unwrap());
        let mut input = Input::new(partition, Slot(0), internal, index, metrics);
        input.next = Some(next);
        input
    }

    /// Does the next record: its value, and the place after it.
    fn step(input: &mut Input<Fetched>) -> Option<(String, Place)> {
        let (record, end) = input.head()?.read(&mut Headers::new())?;
        let value = String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned();
        input.advance(end);
        Some((value, input.next?))
    }

    fn place(offset: i64, done: u32) -> Place {
        Place { offset: Offset(offset), done }
    }

    fn done(value: &str, offset: i64, done: u32) -> Option<(String, Place)> {
        Some((value.to_owned(), place(offset, done)))
    }

    #[test]
    fn records_come_one_by_one_whether_they_were_packed_or_not() {
        let mut input = input(true, place(5, 0));
        let contents = input.push(pack(5, &["a", "b", "c"]), &mut Headers::new());
        assert_eq!(contents, Contents { records: 3, bytes: 3 });
        input.push(plain(6, "d"), &mut Headers::new());
        assert_eq!((input.waiting(), input.waiting_since()), (4, Some(Timestamp::new(0))));
        assert_eq!(step(&mut input), done("a", 5, 1));
        assert_eq!((input.waiting(), input.waiting_since()), (3, Some(Timestamp::new(1))));
        assert_eq!(step(&mut input), done("b", 5, 2));
        assert_eq!(step(&mut input), done("c", 6, 0));
        assert_eq!(step(&mut input), done("d", 7, 0));
        assert_eq!((input.waiting(), input.waiting_since()), (0, None));
    }

    #[test]
    fn what_is_done_of_a_pack_does_not_come_again() {
        let mut input = input(true, place(5, 2));
        let contents = input.push(pack(5, &["a", "b", "c"]), &mut Headers::new());
        assert_eq!(contents.records, 1);
        input.push(pack(6, &["d"]), &mut Headers::new());
        assert_eq!(input.waiting_since(), Some(Timestamp::new(2)));
        assert_eq!(step(&mut input), done("c", 6, 0));
        assert_eq!(step(&mut input), done("d", 7, 0));
    }

    #[test]
    fn of_what_lies_elsewhere_nothing_is_left_out() {
        // Markers of transactions lay where the group had committed, or the topic was made anew.
        for (committed, lies_at) in [(place(5, 2), 6), (place(5, 7), 5)] {
            let mut input = input(true, committed);
            let contents = input.push(pack(lies_at, &["a", "b", "c"]), &mut Headers::new());
            assert_eq!(contents.records, 3);
        }
    }

    #[test]
    fn a_user_may_have_a_header_of_that_name() {
        let mut input = input(false, place(5, 0));
        let contents = input.push(pack(5, &["a", "b"]), &mut Headers::new());
        assert_eq!(contents.records, 1);
    }

    #[test]
    fn what_only_says_that_it_is_a_pack_is_one_record_that_cannot_be_read() {
        let mut input = input(true, place(5, 0));
        let broken = Fetched { headers: pack::headers(), ..plain(5, "no pack") };
        input.push(broken, &mut Headers::new());
        assert_eq!(input.waiting(), 1);
        let head = input.head().unwrap();
        assert_eq!(head.read(&mut Headers::new()), None);
        assert_eq!(head.read_whole(&mut Headers::new()).value, Some(&b"no pack"[..]));
        input.advance(0);
        assert_eq!((input.waiting(), input.next), (0, Some(place(6, 0))));
    }
}
