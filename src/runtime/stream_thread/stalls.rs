//! The watch over inputs that bring nothing: where their brokers have more, they are fetched anew.
//!
//! Between the leaders of a partition that moves a client can lose its way, and stand until its next
//! routine look at the cluster. A quiet input is therefore compared with its log now and then. To
//! fetch anew from where it stands neither skips nor repeats a record, so a false alarm costs a
//! request.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::StreamThread;
use crate::kafka::{Cluster, Consumer, Isolation, Offset, OffsetSpec, TopicPartition};
use crate::runtime::input::Place;
use crate::status::TaskState;

/// How often quiet inputs are looked for.
const LOOK: Duration = Duration::from_secs(2);
/// How long an input is quiet before its log is asked about.
const QUIET: Duration = Duration::from_secs(10);
/// The same for one that has brought nothing yet, while nothing else comes either: a client that does
/// not know the leader of a new partition when it is told where to begin has lost its way from the
/// start. (Beside a backlog, inputs wait for their turn.)
const QUIET_FROM_THE_START: Duration = Duration::from_secs(2);
/// The longest pause between two attempts to fetch the same position.
const LONGEST: Duration = Duration::from_secs(300);
/// How long brokers may take to answer, while the thread's tasks stand still.
const ANSWER: Duration = Duration::from_secs(1);

/// The inputs that brought nothing when they were last looked at.
pub(super) struct StallWatch {
    last_look: Instant,
    /// Whether anything came since then.
    something_came: bool,
    quiet: BTreeMap<TopicPartition, Quiet>,
}

/// An input that brings nothing at present.
struct Suspect {
    partition: TopicPartition,
    position: Offset,
    /// Whether it should have brought something: it never did, and nothing is in its way.
    is_awaited: bool,
}

/// An input that brings nothing.
struct Quiet {
    position: Offset,
    since: Instant,
    /// How long it may stay so until its log is asked about.
    patience: Duration,
}

impl StallWatch {
    pub(super) fn new(now: Instant) -> Self {
        Self { last_look: now, something_came: false, quiet: BTreeMap::new() }
    }

    /// Takes note of records of whatever input.
    pub(super) fn came(&mut self) {
        self.something_came = true;
    }

    /// Takes note of where the quiet inputs stand, and says which of them stood too long.
    fn note(&mut self, now: Instant, inputs: Vec<Suspect>) -> Vec<TopicPartition> {
        let mut before = std::mem::take(&mut self.quiet);
        for Suspect { partition, position, is_awaited } in inputs {
            let quiet = before.remove(&partition).filter(|quiet| quiet.position == position);
            let patience = if is_awaited { QUIET_FROM_THE_START } else { QUIET };
            let mut quiet = quiet.unwrap_or(Quiet { position, since: now, patience });
            if !is_awaited {
                quiet.patience = quiet.patience.max(QUIET);
            }
            self.quiet.insert(partition, quiet);
        }
        let long = |quiet: &Quiet| now.saturating_duration_since(quiet.since) >= quiet.patience;
        let long = self.quiet.iter().filter(|(_, quiet)| long(quiet));
        long.map(|(partition, _)| partition.clone()).collect()
    }

    /// Whether an input stands although its log goes on up to `end`; if so, from where.
    fn stalled(&mut self, now: Instant, input: &TopicPartition, end: Offset) -> Option<Offset> {
        let quiet = self.quiet.get_mut(input)?;
        quiet.since = now;
        quiet.patience = quiet.patience.max(QUIET);
        if end <= quiet.position {
            return None;
        }
        // Nothing but what a compaction took may be left: then every attempt is in vain.
        quiet.patience = (quiet.patience * 2).min(LONGEST);
        Some(quiet.position)
    }
}

impl<C: Cluster> StreamThread<C> {
    /// Has inputs fetched anew that stand although their logs go on.
    pub(super) fn look_for_stalls(&mut self) {
        if self.clock.elapsed(self.stalls.last_look) < LOOK {
            return;
        }
        let now = self.clock.now();
        self.stalls.last_look = now;
        let is_idle = !std::mem::take(&mut self.stalls.something_came);
        let mut inputs = Vec::new();
        for task in self.tasks.values().filter(|task| task.state == TaskState::Running) {
            for input in &task.inputs {
                let Some(Place { offset: next, .. }) = input.next else { continue };
                if !input.paused && input.waiting() == 0 {
                    // Behind the last record there may be the markers of transactions.
                    let position = self.consumer.position(&input.partition).unwrap_or(next);
                    inputs.push(Suspect {
                        partition: input.partition.clone(),
                        position: position.max(next),
                        is_awaited: is_idle && input.last_timestamp.is_none(),
                    });
                }
            }
        }
        let suspects = self.stalls.note(now, inputs);
        if suspects.is_empty() {
            return;
        }
        let (latest, stable) = (OffsetSpec::Latest, Isolation::ReadCommitted);
        let ends = match self.consumer.list_offsets(&suspects, latest, stable, ANSWER) {
            Ok(ends) => ends,
            Err(error) => {
                tracing::debug!(thread = self.config.name, %error, "the ends of quiet inputs");
                return;
            }
        };
        for found in ends {
            let end = found.offset.unwrap_or_default();
            let Some(position) = self.stalls.stalled(now, &found.partition, end) else { continue };
            tracing::warn!(thread = self.config.name, partition = %found.partition, %position, %end, "nothing comes although there is more; fetched anew");
            self.metrics.input_stalled();
            if let Err(error) = self.consumer.refetch(&[(found.partition, position)], ANSWER) {
                tracing::warn!(thread = self.config.name, %error, "fetching anew");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(position: i64) -> Vec<Suspect> {
        let partition = TopicPartition::new("orders", 0);
        vec![Suspect { partition, position: Offset(position), is_awaited: false }]
    }

    #[test]
    fn an_input_that_has_brought_nothing_yet_is_asked_about_soon_and_then_as_any_other() {
        let start = Instant::now();
        let mut watch = StallWatch::new(start);
        let nothing = || at(7).into_iter().map(|input| Suspect { is_awaited: true, ..input });
        watch.note(start, nothing().collect());
        let soon = start + QUIET_FROM_THE_START;
        let suspects = watch.note(soon, nothing().collect());
        assert_eq!(watch.stalled(soon, &suspects[0], Offset(7)), None);
        assert!(watch.note(soon + QUIET / 2, nothing().collect()).is_empty());
        assert_eq!(watch.note(soon + QUIET, nothing().collect()).len(), 1);
    }

    #[test]
    fn beside_a_backlog_an_input_has_time() {
        let start = Instant::now();
        let mut watch = StallWatch::new(start);
        let awaited = at(7).into_iter().map(|input| Suspect { is_awaited: true, ..input });
        watch.note(start, awaited.collect());
        assert!(watch.note(start + QUIET_FROM_THE_START, at(7)).is_empty());
    }

    #[test]
    fn an_input_that_moves_is_never_suspected() {
        let start = Instant::now();
        let mut watch = StallWatch::new(start);
        for step in 0..10 {
            let now = start + QUIET * u32::try_from(step).unwrap();
            assert!(watch.note(now, at(step)).is_empty());
        }
    }

    #[test]
    fn an_input_at_its_logs_end_is_asked_about_again_and_again_and_never_stalled() {
        let start = Instant::now();
        let mut watch = StallWatch::new(start);
        watch.note(start, at(7));
        for step in 1..5 {
            let now = start + QUIET * step;
            let suspects = watch.note(now, at(7));
            assert_eq!(suspects.len(), 1);
            assert_eq!(watch.stalled(now, &suspects[0], Offset(7)), None);
        }
    }

    #[test]
    fn an_input_that_stands_before_more_is_fetched_from_there_at_longer_and_longer_intervals() {
        let start = Instant::now();
        let mut watch = StallWatch::new(start);
        watch.note(start, at(7));
        let suspects = watch.note(start + QUIET, at(7));
        assert_eq!(watch.stalled(start + QUIET, &suspects[0], Offset(9)), Some(Offset(7)));
        assert!(watch.note(start + QUIET * 2, at(7)).is_empty());
        assert_eq!(watch.note(start + QUIET * 3, at(7)).len(), 1);
        assert!(watch.note(start + QUIET * 3, at(8)).is_empty(), "it moved");
    }
}
