//! Where a task falls when its owner's instance dies: there its copy is worth most.
//!
//! The group's leader gives what a dead instance had to the others by librdkafka's
//! `cooperative-sticky` assignor. It knows nothing of copies, but what it will do can be foretold:
//! members keep what they have, and what is left goes, a partition at a time, to the member that has
//! fewest, of several to the one whose id comes first. The ids that brokers give begin with the
//! members' names, and the partitions come in the opposite order of their topics' names and numbers.
//!
//! Nothing that must be right rests on it. Where it is wrong (with more than four subtopologies the
//! order of the topics is the broker's own; two instances may die at once; racks) a task is restored
//! from further back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tidemill_topology::graph::{SubtopologyId, TaskId};

use crate::runtime::membership::Member;
use crate::runtime::plan::Plan;

/// For how long who has what must have been the same before copies follow it: longer than a
/// rebalance in two parts.
const SETTLED: Duration = Duration::from_secs(5);

/// The heirs of all tasks, as of the last time at which the group was at rest.
#[derive(Debug)]
pub struct Heirs {
    order: LeadOrder,
    /// Who had what when they were last looked at, and since when.
    seen: Option<(Holdings, Instant)>,
    known: Option<Known>,
}

/// What was foretold, and of whom.
#[derive(Debug)]
struct Known {
    holdings: Holdings,
    heirs: BTreeMap<TaskId, String>,
}

/// The threads of each instance, and the tasks of each thread.
type Holdings = BTreeMap<String, BTreeMap<String, BTreeSet<TaskId>>>;

/// The lead topic of each subtopology: the group assigns its partitions.
#[derive(Debug)]
struct LeadOrder(BTreeMap<SubtopologyId, String>);

impl LeadOrder {
    /// By which the assignor goes through partitions, the last one first.
    fn place(&self, task: TaskId) -> (Option<&str>, i32) {
        (self.0.get(&task.subtopology).map(String::as_str), task.partition)
    }
}

impl Heirs {
    /// Of the tasks of a plan; none are known yet.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let leads = plan.subtopologies().filter_map(|(subtopology, plan)| {
            Some((subtopology, plan.inputs.first()?.topic.to_string()))
        });
        Self { order: LeadOrder(leads.collect()), seen: None, known: None }
    }

    /// Looks who has what; the heirs are known anew once that has not changed for some time.
    pub fn look(&mut self, members: &[Member], now: Instant) {
        let Some(holdings) = holdings(members) else { return };
        let since = match self.seen.take() {
            Some((seen, since)) if seen == holdings => since,
            _ => now,
        };
        let is_settled = now.saturating_duration_since(since) >= SETTLED;
        if is_settled && self.known.as_ref().is_none_or(|known| known.holdings != holdings) {
            let heirs = heirs(&holdings, &self.order);
            self.known = Some(Known { holdings: holdings.clone(), heirs });
        }
        self.seen = Some((holdings, since));
    }

    /// Whether the group has been at rest, so that heirs are known.
    #[must_use]
    pub fn are_known(&self) -> bool {
        self.known.is_some()
    }

    /// The instance that a task falls to; `None` where there is none, or it is not known.
    #[must_use]
    pub fn of(&self, task: TaskId) -> Option<&str> {
        self.known.as_ref()?.heirs.get(&task).map(String::as_str)
    }

    /// Before anything is known.
    #[cfg(test)]
    pub fn unknown() -> Self {
        Self { order: LeadOrder(BTreeMap::new()), seen: None, known: None }
    }

    /// These heirs.
    #[cfg(test)]
    pub fn told(heirs: &[(TaskId, &str)]) -> Self {
        let heirs = heirs.iter().map(|(task, heir)| (*task, (*heir).to_owned())).collect();
        let known = Some(Known { holdings: Holdings::new(), heirs });
        Self { order: LeadOrder(BTreeMap::new()), seen: None, known }
    }
}

/// Who has what; `None` while a task is on its way, so that two say they have it.
fn holdings(members: &[Member]) -> Option<Holdings> {
    let mut holdings = Holdings::new();
    let mut all = BTreeSet::new();
    for member in members.iter().filter(|member| member.is_alive) {
        let threads = holdings.entry(member.instance.clone()).or_default();
        threads.extend(member.threads.iter().map(|thread| (thread.clone(), BTreeSet::new())));
        for (task, held) in &member.tasks {
            if !all.insert(*task) {
                return None;
            }
            threads.entry(held.thread.clone()).or_default().insert(*task);
        }
    }
    Some(holdings)
}

/// What comes first in the id that a broker gives to a member: its name, a dash, something random.
fn start_of_id(thread: &str) -> String {
    format!("{thread}-")
}

/// What the assignor makes of the tasks of each instance, were that instance gone.
fn heirs(holdings: &Holdings, order: &LeadOrder) -> BTreeMap<TaskId, String> {
    let mut heirs = BTreeMap::new();
    for (gone, threads) in holdings {
        let mut left: Vec<TaskId> = threads.values().flatten().copied().collect();
        left.sort_by(|a, b| order.place(*b).cmp(&order.place(*a)));
        let others = holdings.iter().filter(|(instance, _)| *instance != gone);
        let mut others: BTreeSet<(usize, String, &String)> = others
            .flat_map(|(instance, threads)| {
                threads
                    .iter()
                    .map(move |(thread, tasks)| (tasks.len(), start_of_id(thread), instance))
            })
            .collect();
        for task in left {
            let Some((tasks, id, instance)) = others.pop_first() else { break };
            heirs.insert(task, instance.clone());
            others.insert((tasks + 1, id, instance));
        }
    }
    heirs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::membership::HeldTask;

    fn order() -> LeadOrder {
        let leads = [(SubtopologyId(0), "orders".to_owned()), (SubtopologyId(1), "by".to_owned())];
        LeadOrder(leads.into())
    }

    fn instance(name: &str, threads: &[(&str, &[&str])]) -> Member {
        let mut member = Member::named(name);
        for (thread, tasks) in threads {
            member.threads.insert((*thread).to_owned());
            for task in *tasks {
                let held = HeldTask { state: "running".to_owned(), thread: (*thread).to_owned() };
                member.tasks.insert(task.parse().unwrap(), held);
            }
        }
        member
    }

    fn heir(members: &[Member], task: &str) -> Option<String> {
        heirs(&holdings(members)?, &order()).remove(&task.parse().unwrap())
    }

    #[test]
    fn what_is_left_goes_to_those_who_have_least_in_the_order_of_their_names() {
        let members = [
            instance("a", &[("a-0", &["0_0", "0_1"]), ("a-1", &["0_2", "1_0"])]),
            instance("b", &[("b-0", &["0_3"]), ("b-1", &["1_1", "1_2"])]),
            instance("c", &[("c-0", &["0_4", "0_5"]), ("c-1", &["1_3", "1_4"])]),
        ];
        // The last topic's last partition first, and b-0 has least.
        assert_eq!(heir(&members, "0_2").as_deref(), Some("b"));
        // All have two now: b-0, b-1, c-0.
        assert_eq!(heir(&members, "0_1").as_deref(), Some("b"));
        assert_eq!(heir(&members, "0_0").as_deref(), Some("b"));
        assert_eq!(heir(&members, "1_0").as_deref(), Some("c"), "its topic's name comes first");
    }

    #[test]
    fn names_are_compared_as_members_ids_are() {
        // A dash comes before a digit, so a-1-... comes before a-10-...
        let members =
            [instance("a", &[("a-1", &[]), ("a-10", &[])]), instance("b", &[("b-0", &["0_0"])])];
        let holdings = holdings(&members).unwrap();
        let mut ids: Vec<String> = holdings["a"].keys().map(|name| start_of_id(name)).collect();
        ids.sort();
        assert_eq!(ids, ["a-1-", "a-10-"]);
        assert_eq!(heir(&members, "0_0").as_deref(), Some("a"));
    }

    #[test]
    fn nobody_inherits_from_the_only_instance_or_while_a_task_is_on_its_way() {
        let alone = [instance("a", &[("a-0", &["0_0"])])];
        assert_eq!(heir(&alone, "0_0"), None);
        let moving =
            [instance("a", &[("a-0", &["0_0"])]), instance("b", &[("b-0", &["0_0", "0_1"])])];
        assert_eq!(holdings(&moving), None);
        let mut dead = moving.clone();
        dead[0].is_alive = false;
        assert!(holdings(&dead).is_some());
    }

    #[test]
    fn copies_follow_only_what_has_not_changed_for_some_time() {
        let start = Instant::now();
        let mut known = Heirs { order: order(), ..Heirs::unknown() };
        let task = "0_0".parse().unwrap();
        let before = [
            instance("a", &[("a-0", &["0_0"])]),
            instance("b", &[("b-0", &[])]),
            instance("c", &[("c-0", &["0_1"])]),
        ];
        known.look(&before, start);
        assert!(!known.are_known());
        known.look(&before, start + SETTLED);
        assert_eq!(known.of(task), Some("b"));
        let after = [
            instance("a", &[("a-0", &["0_0"])]),
            instance("b", &[("b-0", &["0_1"])]),
            instance("c", &[("c-0", &[])]),
        ];
        known.look(&after, start + SETTLED);
        assert_eq!(known.of(task), Some("b"), "it has just changed");
        known.look(&after, start + SETTLED * 2);
        assert_eq!(known.of(task), Some("c"));
    }
}
