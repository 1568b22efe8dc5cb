//! The watch over tasks that the group gave to nobody: somebody joins once more, and gets them.
//!
//! A cooperative rebalance has two halves: members give partitions up in the first, and join again to
//! have them handed out in the second. A static member that is killed in between and comes back has
//! its assignment at once, without a rebalance (KIP-345), and nobody knows any more that it was to
//! join again: what it gave up stays nobody's until something else makes the group rebalance.
//!
//! Every instance looks, and the member whose name comes first in the group acts: it leaves and joins
//! again. A false alarm costs a rebalance, and no result.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::control::Links;
use super::error::RuntimeError;
use super::observe::Shared;
use super::plan::Plan;
use super::stop::StopSignal;
use crate::clock::Clock;
use crate::kafka::{Admin, GroupMember, TopicPartition};

/// How often the group is asked.
const LOOK: Duration = Duration::from_secs(3);
/// How many looks in a row have to find the same: between its halves, a rebalance looks like this.
const SURE_AFTER: u32 = 4;
/// How long the coordinator may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How soon it is seen that the instance stops.
const STEP: Duration = Duration::from_millis(100);

/// See the [module](self).
pub(super) struct OrphanWatch<A> {
    admin: A,
    clock: Clock,
    stop: Arc<StopSignal>,
    shared: Arc<Shared>,
    group: String,
    leads: BTreeSet<TopicPartition>,
    found: Found,
}

/// What the last looks found to be nobody's, and how many of them did.
#[derive(Default)]
struct Found {
    orphans: BTreeSet<TopicPartition>,
    looks: u32,
}

impl<A: Admin> OrphanWatch<A> {
    /// Over the lead topics of a plan, until `stop` is told.
    pub(super) fn new(
        admin: A,
        clock: Clock,
        stop: Arc<StopSignal>,
        shared: Arc<Shared>,
        group: &str,
        plan: &Plan,
    ) -> Self {
        let leads = plan.subtopologies().filter_map(|(_, part)| part.inputs.first());
        let leads = leads.flat_map(|lead| {
            (0..lead.partitions).map(|number| TopicPartition::new(lead.topic.clone(), number))
        });
        let (leads, group) = (leads.collect(), group.to_owned());
        Self { admin, clock, stop, shared, group, leads, found: Found::default() }
    }

    /// Watches until the instance stops; threads are told through `links`.
    pub(super) fn run(mut self, links: &Links) -> Result<(), RuntimeError> {
        loop {
            let looked = self.clock.now();
            while self.clock.elapsed(looked) < LOOK {
                if self.stop.is_told() {
                    return Ok(());
                }
                self.clock.sleep(STEP);
            }
            // Others notice and say that the cluster is away.
            let Ok(members) = self.admin.group_members(&self.group, TIMEOUT) else { continue };
            let Some(who) = self.found.note(&self.leads, &members) else { continue };
            if links.tell_to_rejoin(who) {
                let orphans: Vec<String> =
                    self.found.orphans.iter().map(ToString::to_string).collect();
                tracing::warn!(
                    thread = who,
                    partitions = orphans.join(" "),
                    "the group gave these to nobody; a thread leaves it and joins again"
                );
                self.shared.client().error("orphaned");
            }
        }
    }
}

impl Found {
    /// Takes note of a look at the group; who is to act, once it is sure.
    fn note<'m>(
        &mut self,
        leads: &BTreeSet<TopicPartition>,
        members: &'m [GroupMember],
    ) -> Option<&'m str> {
        let mut orphans = leads.clone();
        for partition in members.iter().flat_map(|member| &member.assignment) {
            orphans.remove(partition);
        }
        // Of a group that is about to rebalance no assignment is told at all.
        let is_under_way = orphans.len() == leads.len();
        if orphans.is_empty() || is_under_way || orphans != self.orphans {
            self.looks = 0;
        }
        self.orphans = orphans;
        if self.orphans.is_empty() || is_under_way {
            return None;
        }
        self.looks += 1;
        if self.looks < SURE_AFTER {
            return None;
        }
        self.looks = 0;
        members.iter().filter_map(|member| member.group_instance_id.as_deref()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions(numbers: &[i32]) -> Vec<TopicPartition> {
        numbers.iter().map(|number| TopicPartition::new("orders", *number)).collect()
    }

    fn member(name: &str, assignment: &[i32]) -> GroupMember {
        GroupMember {
            client_id: String::new(),
            member_id: format!("{name}-1"),
            group_instance_id: Some(name.to_owned()),
            host: String::new(),
            assignment: partitions(assignment),
        }
    }

    #[test]
    fn who_comes_first_acts_once_the_same_is_nobodys_for_some_looks() {
        let leads = partitions(&[0, 1, 2, 3]).into_iter().collect();
        let members = [member("two-0", &[1]), member("one-0", &[0, 3])];
        let mut found = Found::default();
        for _ in 1..SURE_AFTER {
            assert_eq!(found.note(&leads, &members), None);
        }
        assert_eq!(found.note(&leads, &members), Some("one-0"));
        assert_eq!(found.note(&leads, &members), None, "it has some time to act");
    }

    #[test]
    fn a_rebalance_and_a_group_that_has_everything_are_no_reason() {
        let leads = partitions(&[0, 1, 2]).into_iter().collect();
        let mut found = Found::default();
        for round in 0..4 * SURE_AFTER as usize {
            let halves = [member("one-0", &[[0, 1], [1, 2]][round % 2])];
            let [all, none] = [&[0, 1, 2][..], &[]].map(|assigned| [member("one-0", assigned)]);
            assert_eq!(found.note(&leads, &halves), None, "it moves on");
            if round % 3 == 0 {
                assert_eq!(found.note(&leads, &all), None);
                assert_eq!(found.note(&leads, &none), None, "it is under way");
            }
        }
        assert_eq!(found.note(&leads, &[]), None);
    }
}
