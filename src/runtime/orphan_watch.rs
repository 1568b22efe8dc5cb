//! The watch over tasks that the group gave to nobody: somebody joins once more, and gets them.
//!
//! A cooperative rebalance has two halves: members give partitions up in the first, and join again to
//! have them handed out in the second. A static member that is killed in between and comes back has
//! its assignment at once, without a rebalance (KIP-345), and nobody knows any more that it was to
//! join again: what it gave up stays nobody's until something else makes the group rebalance.
//!
//! Every instance compares the tasks there are with those that live instances say they have, in the
//! members topic; the instance whose name comes first acts, and one of its threads leaves the group
//! and joins again. A false alarm costs a rebalance, and no result.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill_topology::graph::TaskId;

use super::control::Links;
use super::error::RuntimeError;
use super::membership::Member;
use super::observe::Shared;
use super::plan::Plan;
use super::stop::StopSignal;
use crate::clock::Clock;

/// How often is looked.
const LOOK: Duration = Duration::from_secs(1);
/// How long the same must be nobody's, after the session of an instance that died is over: its tasks
/// are given to others then.
const SURE_AFTER: Duration = Duration::from_secs(15);
/// The longest pause between two attempts to have the same tasks given out.
const LONGEST: Duration = Duration::from_secs(600);
/// How soon it is seen that the instance stops.
const STEP: Duration = Duration::from_millis(100);

/// See the [module](self).
pub(super) struct OrphanWatch {
    clock: Clock,
    stop: Arc<StopSignal>,
    shared: Arc<Shared>,
    tasks: BTreeSet<TaskId>,
    found: Found,
}

/// What was found to be nobody's, and since when.
struct Found {
    orphans: BTreeSet<TaskId>,
    since: Instant,
    /// How long it may stay so at first.
    usual: Duration,
    /// How long it may stay so now.
    patience: Duration,
}

impl OrphanWatch {
    /// Over the tasks of a plan, until `stop` is told.
    pub(super) fn new(
        clock: Clock,
        stop: Arc<StopSignal>,
        shared: Arc<Shared>,
        session: Duration,
        plan: &Plan,
    ) -> Self {
        let parts = plan.subtopologies();
        let tasks = parts.flat_map(|(subtopology, part)| {
            (0..part.tasks).map(move |partition| TaskId { subtopology, partition })
        });
        let found = Found::new(session + SURE_AFTER, clock.now());
        Self { tasks: tasks.collect(), clock, stop, shared, found }
    }

    /// Watches until the instance stops; its threads are told through `links`.
    pub(super) fn run(mut self, links: &Links) -> Result<(), RuntimeError> {
        loop {
            let looked = self.clock.now();
            while self.clock.elapsed(looked) < LOOK {
                if self.stop.is_told() {
                    return Ok(());
                }
                self.clock.sleep(STEP);
            }
            let view = &self.shared.members;
            if !view.is_complete() {
                continue;
            }
            let now = self.clock.now();
            if !self.found.note(&self.tasks, &view.members(now), now) {
                continue;
            }
            let tasks: Vec<String> = self.found.orphans.iter().map(ToString::to_string).collect();
            if let Some(thread) = links.tell_first_to_rejoin() {
                tracing::warn!(
                    thread,
                    tasks = tasks.join(" "),
                    "the group gave these to nobody; a thread leaves it and joins again"
                );
                self.shared.client().error("orphaned");
            }
        }
    }
}

impl Found {
    fn new(usual: Duration, now: Instant) -> Self {
        Self { orphans: BTreeSet::new(), since: now, usual, patience: usual }
    }

    /// Takes note of what instances say they have; whether it is time for this one to act.
    fn note(&mut self, tasks: &BTreeSet<TaskId>, members: &[Member], now: Instant) -> bool {
        let alive = || members.iter().filter(|member| member.is_alive);
        let mut orphans = tasks.clone();
        orphans.retain(|task| !alive().any(|member| member.tasks.contains_key(task)));
        if orphans.is_empty() || orphans != self.orphans {
            (self.orphans, self.since, self.patience) = (orphans, now, self.usual);
            return false;
        }
        if now.saturating_duration_since(self.since) < self.patience {
            return false;
        }
        (self.since, self.patience) = (now, (self.patience * 2).min(LONGEST));
        alive().min_by_key(|member| &member.instance).is_some_and(|first| first.is_self)
    }
}

#[cfg(test)]
mod tests {
    use tidemill_topology::graph::SubtopologyId;

    use super::super::membership::HeldTask;
    use super::*;

    const USUAL: Duration = Duration::from_secs(20);

    fn tasks(partitions: &[i32]) -> BTreeSet<TaskId> {
        let task =
            |partition: &i32| TaskId { subtopology: SubtopologyId(0), partition: *partition };
        partitions.iter().map(task).collect()
    }

    fn member(instance: &str, is_self: bool, held: &[i32]) -> Member {
        let state = || HeldTask { state: "running".to_owned(), thread: format!("{instance}-0") };
        let tasks = tasks(held).into_iter().map(|task| (task, state())).collect();
        Member { tasks, is_self, ..Member::named(instance) }
    }

    #[test]
    fn the_first_instance_acts_once_the_same_is_nobodys_for_long_and_then_less_often() {
        let (all, start) = (tasks(&[0, 1, 2, 3]), Instant::now());
        for (name, acts) in [("a", true), ("z", false)] {
            let members = [member("b", false, &[0, 3]), member(name, true, &[1])];
            let mut found = Found::new(USUAL, start);
            assert!(!found.note(&all, &members, start));
            assert!(!found.note(&all, &members, start + USUAL / 2));
            assert_eq!(found.note(&all, &members, start + USUAL), acts);
            assert!(!found.note(&all, &members, start + 2 * USUAL));
            assert_eq!(found.note(&all, &members, start + 3 * USUAL), acts);
        }
    }

    #[test]
    fn tasks_that_move_and_tasks_of_all_are_no_reason() {
        let (all, start) = (tasks(&[0, 1, 2]), Instant::now());
        let mut found = Found::new(USUAL, start);
        for round in 0..6 {
            let held = [[0, 1], [1, 2]][round % 2];
            let now = start + USUAL * u32::try_from(round).unwrap();
            assert!(!found.note(&all, &[member("a", true, &held)], now), "it moves on");
        }
        let now = start + 10 * USUAL;
        assert!(!found.note(&all, &[member("a", true, &[0, 1, 2])], now));
        assert!(!found.note(&all, &[member("a", true, &[0, 1, 2])], now + USUAL));
    }

    #[test]
    fn what_a_dead_instance_had_is_nobodys() {
        let (all, start) = (tasks(&[0, 1]), Instant::now());
        let dead = Member { is_alive: false, ..member("a", false, &[0]) };
        let members = [dead, member("b", true, &[1])];
        let mut found = Found::new(USUAL, start);
        assert!(!found.note(&all, &members, start));
        assert!(found.note(&all, &members, start + USUAL));
    }
}
