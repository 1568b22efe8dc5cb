//! Who keeps a copy of which task: the instance that it would fall to, then rendezvous hashing over
//! the others that live.
//!
//! Each instance comes to the same answer by itself. The first copy is its [heir's](super::heirs). Of
//! the rest but the task's owner, those with the highest hash of task and instance keep its copies,
//! so an instance that comes or goes moves no more of these than it has to.

use tidemill_topology::graph::TaskId;

use super::heirs::Heirs;
use crate::runtime::membership::{HeldTask, Member};

/// What an instance is to do about its copy of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Have one.
    Keep,
    /// Have none.
    Drop,
    /// Nobody runs the task at present, or it is not known yet who will have it next: what is there
    /// stays, and nothing comes.
    Leave,
}

/// Whether another instance that lives has a task.
#[must_use]
pub fn is_elsewhere(task: TaskId, members: &[Member]) -> bool {
    let mut others = members.iter().filter(|member| member.is_alive && !member.is_self);
    others.any(|member| member.tasks.contains_key(&task))
}

/// What this instance is to do about a task, of which there are to be `replicas` copies.
///
/// A copy that is to go stays until those that replace it lag at most `acceptable_lag` records
/// behind, so that a move of copies leaves no time without one.
#[must_use]
pub fn verdict(
    task: TaskId,
    members: &[Member],
    heirs: &Heirs,
    replicas: usize,
    acceptable_lag: i64,
) -> Verdict {
    let alive = || members.iter().filter(|member| member.is_alive);
    let Some(owner) = alive().find(|member| member.tasks.contains_key(&task)) else {
        return Verdict::Leave;
    };
    if owner.is_self {
        return Verdict::Drop;
    }
    if !heirs.are_known() {
        return Verdict::Leave;
    }
    let mut others: Vec<&Member> =
        alive().filter(|member| member.instance != owner.instance).collect();
    let heir = heirs.of(task);
    others.sort_by_key(|member| {
        let is_heir = heir == Some(member.instance.as_str());
        std::cmp::Reverse((is_heir, weight(task, &member.instance), &member.instance))
    });
    others.truncate(replicas);
    if others.iter().any(|member| member.is_self) {
        return Verdict::Keep;
    }
    let is_warm = |member: &&Member| {
        let copy = member.standbys.get(&task);
        copy.is_some_and(|copy| (0..=acceptable_lag).contains(&copy.lag))
    };
    let is_settled = owner.tasks.get(&task).is_some_and(HeldTask::is_running);
    if is_settled && others.iter().all(is_warm) { Verdict::Drop } else { Verdict::Leave }
}

/// The hash by which instances are ranked for a task: FNV-1a with a final mix, the same in every
/// process and release.
fn weight(task: TaskId, instance: &str) -> u64 {
    let text = format!("{task}/{instance}");
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // FNV leaves the last bytes in the low bits alone; names often differ in nothing else.
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::runtime::membership::StandbyCopy;

    fn task(partition: i32) -> TaskId {
        format!("0_{partition}").parse().unwrap()
    }

    /// Instances of which the first runs all tasks.
    fn members(names: &[&str], tasks: i32) -> Vec<Member> {
        let mut members: Vec<Member> = names.iter().map(|name| Member::named(name)).collect();
        for partition in 0..tasks {
            let held = HeldTask { state: "running".to_owned(), thread: "a-0".to_owned() };
            members[0].tasks.insert(task(partition), held);
        }
        members
    }

    /// Who keeps a copy of a task.
    fn keepers(members: &[Member], task: TaskId, replicas: usize) -> Vec<String> {
        let sees = |at: usize| {
            let mut members = members.to_vec();
            members[at].is_self = true;
            verdict(task, &members, &Heirs::told(&[]), replicas, 100)
        };
        let keep = (0..members.len()).filter(|at| sees(*at) == Verdict::Keep);
        keep.map(|at| members[at].instance.clone()).collect()
    }

    #[test]
    fn there_are_as_many_copies_as_asked_for_and_none_at_the_owner() {
        let members = members(&["a", "b", "c", "d"], 64);
        for replicas in 0..=5 {
            for partition in 0..64 {
                let keepers = keepers(&members, task(partition), replicas);
                assert_eq!(keepers.len(), replicas.min(3));
                assert!(!keepers.contains(&"a".to_owned()));
            }
        }
    }

    #[test]
    fn the_first_copy_is_at_the_heir_and_before_heirs_are_known_none_comes() {
        let mut members = members(&["a", "b", "c", "d"], 8);
        members[2].is_self = true;
        for partition in 0..8 {
            let heirs = Heirs::told(&[(task(partition), "c")]);
            assert_eq!(verdict(task(partition), &members, &heirs, 1, 100), Verdict::Keep);
            let heirs = Heirs::told(&[(task(partition), "d")]);
            assert_ne!(verdict(task(partition), &members, &heirs, 1, 100), Verdict::Keep);
        }
        let unknown = Heirs::unknown();
        assert_eq!(verdict(task(0), &members, &unknown, 3, 100), Verdict::Leave);
    }

    #[test]
    fn copies_are_spread_evenly_and_an_instance_that_leaves_moves_only_its_own() {
        let all = members(&["a", "b", "c", "d"], 300);
        let fewer = members(&["a", "b", "c"], 300);
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for partition in 0..300 {
            let (before, after) =
                (keepers(&all, task(partition), 1), keepers(&fewer, task(partition), 1));
            *counts.entry(before[0].clone()).or_default() += 1;
            assert!(before == after || before == ["d"], "{before:?} {after:?}");
        }
        assert!(counts.values().all(|count| (60..140).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_dead_instance_keeps_nothing_and_a_task_without_an_owner_moves_no_copy() {
        let mut members = members(&["a", "b", "c"], 1);
        let keeper = keepers(&members, task(0), 1)[0].clone();
        let at = members.iter().position(|member| member.instance == keeper).unwrap();
        members[at].is_alive = false;
        assert_ne!(keepers(&members, task(0), 1), [keeper]);
        members[0].is_alive = false;
        members[1].is_self = true;
        let nobody = Heirs::told(&[]);
        assert_eq!(verdict(task(0), &members, &nobody, 1, 100), Verdict::Leave);
    }

    #[test]
    fn a_copy_goes_only_when_the_one_that_replaces_it_has_caught_up() {
        let mut members = members(&["a", "b", "c"], 1);
        let keeper = keepers(&members, task(0), 1)[0].clone();
        let new = members.iter().position(|member| member.instance == keeper).unwrap();
        let old = 3 - new;
        members[old].is_self = true;
        let nobody = Heirs::told(&[]);
        assert_eq!(verdict(task(0), &members, &nobody, 1, 100), Verdict::Leave);
        members[new].standbys.insert(task(0), StandbyCopy { position: 5, lag: 101 });
        assert_eq!(verdict(task(0), &members, &nobody, 1, 100), Verdict::Leave);
        members[new].standbys.insert(task(0), StandbyCopy { position: 6, lag: 100 });
        assert_eq!(verdict(task(0), &members, &nobody, 1, 100), Verdict::Drop);
    }
}
