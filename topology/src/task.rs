//! A task: one subtopology's nodes at work on one partition of each of its inputs.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::handler::NamedError;
use crate::held_back::HeldLimit;
use crate::node::{
    Context, DropReason, Env, Host, PunctuationType, Schedule, ScheduleId, SinkTopic, Slot,
    TimeSlot, run_expired, run_flush, run_init, run_punctuate, run_source,
};
use crate::operators::source;
use crate::record::RawRecord;
use crate::store::bytes::{Expired, StoreIndex};
use crate::time::Timestamp;

/// Which input of a task a record came from; see [`Task::input`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputIndex(u32);

/// A runnable subtopology. It owns its operators and their clocks; stores, topics and time belong
/// to the [`Host`] that each call is given.
pub struct Task {
    nodes: Vec<Slot>,
    inputs: Vec<(SinkTopic, u32)>,
    /// The clocks of the stores that have one.
    store_times: BTreeMap<usize, TimeSlot>,
    expiring: Vec<ExpiringStore>,
    /// The entry that expires, in a buffer that is used again.
    expired: Expired,
    env: Env,
}

/// A store whose entries have a time to live.
pub(crate) struct ExpiringStore {
    pub(crate) store: StoreIndex,
    /// The node that tells those below of its deletions.
    pub(crate) keeper: Option<u32>,
}

/// How many entries of a store are looked at for their expiry after one record. More than that, as
/// after a long pause in event time, would hold up the thread; they wait for the next records, and
/// nobody sees them meanwhile.
const EXPIRY_LOOKS_PER_RECORD: usize = 1_000;

impl Task {
    pub(crate) fn new(
        nodes: Vec<Slot>,
        inputs: Vec<(SinkTopic, u32)>,
        store_times: BTreeMap<usize, TimeSlot>,
        expiring: Vec<ExpiringStore>,
        env: Env,
    ) -> Self {
        Self { nodes, inputs, store_times, expiring, expired: Expired::default(), env }
    }

    /// How long, by the wall clock, operators that wait for windows to close pause between two
    /// looks for what has closed: [`EMIT_INTERVAL_MS`](crate::node::EMIT_INTERVAL_MS) unless told.
    /// With 0 results come out with the record that closes their window.
    pub fn set_emit_interval_ms(&mut self, interval_ms: i64) {
        self.env.emit_interval_ms = interval_ms;
    }

    /// The partition that it works on; 0 unless told.
    pub fn set_partition(&mut self, partition: i32) {
        self.env.partition = partition;
    }

    /// Bounds what its caching stores hold back, together with those of other tasks that share the
    /// limit: beyond it, all that this task holds back goes on its way before the commit. Unless
    /// told there is no limit.
    pub fn share_held_limit(&mut self, limit: HeldLimit) {
        self.env.held.share(limit);
    }

    /// Highest time put into a store that keeps a clock, as windowed stores do.
    #[must_use]
    pub fn store_time(&self, store: StoreIndex) -> Timestamp {
        self.store_times.get(&store.0).map_or(Timestamp::UNKNOWN, |slot| self.env.times[slot.0])
    }

    /// The input that reads a topic (its name without the application's id).
    ///
    /// # Errors
    /// When the task reads no such topic.
    pub fn input(&self, topic: &str) -> Result<InputIndex> {
        self.inputs
            .iter()
            .find(|(input, _)| *input.name == *topic)
            .map(|(_, node)| InputIndex(*node))
            .ok_or_else(|| Error::wiring(format!("the task does not read topic {topic}")))
    }

    /// The topics that the task reads.
    pub fn inputs(&self) -> impl Iterator<Item = &SinkTopic> {
        self.inputs.iter().map(|(topic, _)| topic)
    }

    /// Readies every node; once, before the first record, and after the clocks of the last commit
    /// were taken back: stream-time schedules go on from there.
    ///
    /// # Errors
    /// When a node cannot start.
    pub fn init(&mut self, host: &mut dyn Host) -> Result {
        self.each_node(host, run_init)?;
        let now = self.env.stream_time;
        if now != Timestamp::UNKNOWN {
            let by_stream_time =
                |schedule: &&mut Schedule| schedule.kind == PunctuationType::StreamTime;
            for schedule in self.env.schedules.iter_mut().filter(by_stream_time) {
                // Whatever was due by then has fired before the commit.
                let interval = schedule.interval_ms.max(1);
                let passed = now.millis().div_euclid(interval) + 1;
                schedule.next = Timestamp::new(passed.saturating_mul(interval));
            }
        }
        Ok(())
    }

    /// Takes one record through the nodes, then takes out what expired by its time, and fires the
    /// stream-time punctuations that it made due.
    ///
    /// # Errors
    /// When a handler says so, or when a store or the producer fails.
    #[inline]
    pub fn process(
        &mut self,
        input: InputIndex,
        record: &RawRecord<'_>,
        host: &mut dyn Host,
    ) -> Result {
        let node = input.0;
        self.env.node_records[node as usize] += 1;
        let mut ctx = context(&mut self.nodes, &mut self.env, host, record);
        ctx.enter(node, run_source)?;
        if !self.expiring.is_empty() {
            self.take_expired(host)?;
        }
        if !self.env.schedules.is_empty() {
            let now = self.env.stream_time;
            self.punctuate(PunctuationType::StreamTime, now, host)?;
        }
        if self.env.held.is_too_much() { self.flush(host) } else { Ok(()) }
    }

    /// Gives a record on which code has panicked to the processing handler, in place of
    /// [`process`](Self::process).
    ///
    /// # Errors
    /// As [`process`](Self::process); the handler's "fail" is an error of processing.
    pub fn refuse(
        &mut self,
        input: InputIndex,
        record: &RawRecord<'_>,
        panic: &str,
        host: &mut dyn Host,
    ) -> Result {
        let cause = NamedError { name: "tidemill.Panic".to_owned(), message: panic.to_owned() };
        context(&mut self.nodes, &mut self.env, host, record).decide(
            input.0,
            Error::processing(cause),
            record.timestamp,
        )
    }

    /// Gives a record to the deserialization handler of which the caller could not even read so much
    /// as to hand it to [`process`](Self::process): which part, and why.
    ///
    /// # Errors
    /// As [`process`](Self::process); the handler's "fail" is an error of deserialization.
    pub fn refuse_unreadable(
        &mut self,
        record: &RawRecord<'_>,
        part: &'static str,
        cause: NamedError,
        host: &mut dyn Host,
    ) -> Result {
        let mut ctx = context(&mut self.nodes, &mut self.env, host, record);
        source::refuse(part, Box::new(cause), &mut ctx)
    }

    /// Fires the wall-clock punctuations that are due.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn punctuate_wall_clock(&mut self, host: &mut dyn Host) -> Result {
        if self.env.schedules.is_empty() {
            return Ok(());
        }
        let now = host.wall_clock();
        self.punctuate(PunctuationType::WallClockTime, now, host)?;
        if self.env.held.is_too_much() { self.flush(host) } else { Ok(()) }
    }

    /// Whether a wall-clock punctuation is due: then [`punctuate_wall_clock`](Self::punctuate_wall_clock)
    /// has something to do.
    #[must_use]
    pub fn has_wall_clock_punctuation_due(&self, now: Timestamp) -> bool {
        let due = |schedule: &Schedule| {
            !schedule.cancelled
                && schedule.kind == PunctuationType::WallClockTime
                && now >= schedule.next
        };
        self.env.schedules.iter().any(due)
    }

    /// Pushes on what caching operators held back; before each commit, and when it is too much.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn flush(&mut self, host: &mut dyn Host) -> Result {
        self.each_node(host, run_flush)
    }

    /// Closes every node.
    pub fn close(&mut self) {
        for node in &mut self.nodes {
            node.close();
        }
    }

    /// Highest timestamp seen.
    #[must_use]
    pub fn stream_time(&self) -> Timestamp {
        self.env.stream_time
    }

    /// The task's clocks, to be saved with a commit: stream time, then each operator's and store's.
    #[must_use]
    pub fn times(&self) -> Vec<Timestamp> {
        std::iter::once(self.env.stream_time).chain(self.env.times.iter().copied()).collect()
    }

    /// Takes the clocks of a commit back; those of another topology are ignored.
    ///
    /// An input that stood still at the last commit brings the clocks of an earlier one. Clocks only
    /// go forward, so of several calls the highest counts.
    pub fn restore_times(&mut self, times: &[Timestamp]) {
        if let [stream_time, times @ ..] = times
            && times.len() == self.env.times.len()
        {
            self.env.stream_time = self.env.stream_time.max(*stream_time);
            for (clock, committed) in self.env.times.iter_mut().zip(times) {
                *clock = (*clock).max(*committed);
            }
        }
    }

    /// Records dropped so far, by reason.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.env.dropped[reason as usize]
    }

    /// Records dropped so far.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.env.dropped.iter().sum()
    }

    /// Takes the counts of records that each node was given since the last call, by the node's name;
    /// nodes that were given none are left out.
    pub fn take_node_records(&mut self, mut each: impl FnMut(&str, u64)) {
        for (name, records) in self.env.names.iter().zip(&mut self.env.node_records) {
            if *records > 0 {
                each(name, std::mem::take(records));
            }
        }
    }

    /// Dead letters sent so far.
    #[must_use]
    pub fn dead_letters(&self) -> u64 {
        self.env.dead_letters
    }

    fn each_node(
        &mut self,
        host: &mut dyn Host,
        run: fn(&mut Slot, &mut Context<'_>) -> Result,
    ) -> Result {
        let none = RawRecord::none();
        for node in (0_u32..).take(self.nodes.len()) {
            context(&mut self.nodes, &mut self.env, host, &none).enter(node, run)?;
        }
        Ok(())
    }

    /// Takes out of the stores what has expired, within the open commit.
    fn take_expired(&mut self, host: &mut dyn Host) -> Result {
        let now = self.env.stream_time;
        let none = RawRecord::none();
        for ExpiringStore { store, keeper } in &self.expiring {
            let mut looks = EXPIRY_LOOKS_PER_RECORD;
            while host.store(*store).take_expired(now, &mut looks, &mut self.expired)? {
                let (Some(keeper), entry) = (*keeper, &self.expired) else { continue };
                context(&mut self.nodes, &mut self.env, host, &none)
                    .enter(keeper, |slot, ctx| run_expired(slot, entry, ctx))?;
            }
        }
        Ok(())
    }

    fn punctuate(&mut self, kind: PunctuationType, now: Timestamp, host: &mut dyn Host) -> Result {
        let none = RawRecord::none();
        for at in 0..self.env.schedules.len() {
            let schedule = &mut self.env.schedules[at];
            if schedule.cancelled || schedule.kind != kind || now < schedule.next {
                continue;
            }
            // Missed intervals collapse into one call; the next one is aligned to the first.
            let interval = schedule.interval_ms.max(1);
            let missed = (now - schedule.next) / interval;
            schedule.next = schedule.next + (missed + 1).saturating_mul(interval);
            let node = schedule.node;
            context(&mut self.nodes, &mut self.env, host, &none)
                .enter(node, |slot, ctx| run_punctuate(slot, ScheduleId(at), now, ctx))?;
        }
        Ok(())
    }
}

fn context<'t>(
    nodes: &'t mut [Slot],
    env: &'t mut Env,
    host: &'t mut dyn Host,
    source: &'t RawRecord<'t>,
) -> Context<'t> {
    Context { nodes, base: 0, node: 0, env, host, source }
}
