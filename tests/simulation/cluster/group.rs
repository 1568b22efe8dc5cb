//! The group coordinator: the classic protocol with static members, and committed offsets.
//!
//! ```text
//! Empty --> Preparing --(all joined)--> Completing --(leader synced)--> Stable
//!               ^                           |                             |
//!               +------- a member joins, leaves, or is heard of no more --+
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill::kafka::{
    Committed, ErrorClass, GroupMember, GroupMetadata, KafkaError, TopicPartition,
};

use super::Brokers;
use crate::client::ConsumerId;
use crate::client::call::Reply;
use crate::cluster::assignor::{Claim, assign};
use crate::world::{Micros, World, note};

/// How long a new group waits for more members.
const INITIAL_DELAY: Micros = 300_000;

/// What a coordinator refuses a member for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is no member (any more).
    UnknownMember,
    /// Its generation is over.
    IllegalGeneration,
    /// A new generation is being made.
    Rebalancing,
    /// Another process has its static name now.
    FencedInstance,
}

impl Refusal {
    pub(crate) fn error(self, operation: &'static str, class: ErrorClass) -> KafkaError {
        let code = match self {
            Self::UnknownMember => "UNKNOWN_MEMBER_ID",
            Self::IllegalGeneration => "ILLEGAL_GENERATION",
            Self::Rebalancing => "REBALANCE_IN_PROGRESS",
            Self::FencedInstance => "FENCED_INSTANCE_ID",
        };
        KafkaError::new(class, code, operation, "the group refuses the member")
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    #[default]
    Empty,
    Preparing,
    Completing,
    Stable,
}

/// A group.
#[derive(Debug, Default)]
pub struct Group {
    pub(crate) state: State,
    pub(crate) generation: i32,
    pub(crate) members: BTreeMap<String, Member>,
    statics: BTreeMap<Arc<str>, String>,
    leader: Option<String>,
    named: u64,
    /// Counts rebalances, so that the time of an old one says nothing of a new one.
    round: u64,
    may_complete_at: Micros,
    pub(crate) committed: BTreeMap<TopicPartition, Committed>,
    /// Offsets of transactions that are not decided, by producer.
    pub(crate) pending: BTreeMap<u64, Vec<Committed>>,
}

#[derive(Debug)]
pub(crate) struct Member {
    instance: Arc<str>,
    consumer: ConsumerId,
    attempt: u64,
    topics: Vec<Arc<str>>,
    owned: Vec<TopicPartition>,
    owned_generation: i32,
    joined: bool,
    synced: bool,
    heard: Micros,
    session: Micros,
    pub(crate) assignment: Vec<TopicPartition>,
}

/// JoinGroup.
#[derive(Clone, Debug)]
pub(crate) struct Join {
    pub(crate) group: Arc<str>,
    pub(crate) consumer: ConsumerId,
    pub(crate) attempt: u64,
    pub(crate) member_id: String,
    pub(crate) instance: Arc<str>,
    pub(crate) topics: Vec<Arc<str>>,
    pub(crate) owned: Vec<TopicPartition>,
    pub(crate) owned_generation: i32,
    pub(crate) session: Micros,
    pub(crate) rebalance_timeout: Micros,
}

impl Group {
    /// Whether all transactions that carry offsets of these partitions are decided.
    pub(crate) fn is_stable_for(&self, partitions: &[TopicPartition]) -> bool {
        let mut pending = self.pending.values().flatten();
        !pending.any(|offset| partitions.contains(&offset.partition))
    }

    /// Its members, as it describes them.
    pub(crate) fn described(&self) -> Vec<GroupMember> {
        let members = self.members.iter().map(|(id, member)| GroupMember {
            client_id: member.instance.to_string(),
            member_id: id.clone(),
            group_instance_id: Some(member.instance.to_string()),
            host: String::new(),
            assignment: member.assignment.clone(),
        });
        members.collect()
    }

    fn check(&self, member_id: &str, instance: Option<&Arc<str>>) -> Result<&Member, Refusal> {
        if let Some(instance) = instance {
            match self.statics.get(instance) {
                None => return Err(Refusal::UnknownMember),
                Some(known) if known != member_id => return Err(Refusal::FencedInstance),
                Some(_) => {}
            }
        }
        self.members.get(member_id).ok_or(Refusal::UnknownMember)
    }

    /// Whether offsets of this identity are taken (`ClassicGroup.validateOffsetCommit`).
    pub(crate) fn validate(
        &self,
        group: &GroupMetadata,
        transactional: bool,
    ) -> Result<(), Refusal> {
        if group.generation < 0 && self.state == State::Empty {
            return Ok(());
        }
        if group.generation >= 0 || !group.member_id.is_empty() || group.group_instance_id.is_some()
        {
            self.check(&group.member_id, group.group_instance_id.as_ref())?;
            if group.generation != self.generation {
                return Err(Refusal::IllegalGeneration);
            }
        } else if !transactional {
            return Err(Refusal::UnknownMember);
        }
        // A transaction's offsets are taken meanwhile: the generation is the member's newest.
        if !transactional && self.state == State::Completing {
            return Err(Refusal::Rebalancing);
        }
        Ok(())
    }
}

impl World {
    /// JoinGroup; the answer comes when the generation is made.
    pub(crate) fn group_join(&mut self, join: Join) {
        let group = self.brokers.groups.entry(Arc::clone(&join.group)).or_default();
        let known = group.statics.get(&join.instance).cloned();
        let member_id = match known {
            Some(known) if join.member_id.is_empty() => return self.replace_static(join, &known),
            Some(known) if known != join.member_id => {
                return self.answer_join(&join, Err(Refusal::FencedInstance));
            }
            Some(known) => known,
            None if !join.member_id.is_empty() => {
                return self.answer_join(&join, Err(Refusal::UnknownMember));
            }
            None => {
                group.named += 1;
                let id = format!("{}-{}", join.instance, group.named);
                group.statics.insert(Arc::clone(&join.instance), id.clone());
                note!(self, "group: {id} is new");
                self.put_member(&join, &id, Vec::new());
                self.watch_session(&join.group, &id);
                return self.prepare(&join.group, join.rebalance_timeout);
            }
        };
        let now = self.now;
        let Some(group) = self.brokers.groups.get_mut(&join.group) else { return };
        let is_leader = group.leader.as_ref() == Some(&member_id);
        let (state, generation) = (group.state, group.generation);
        let Some(member) = group.members.get_mut(&member_id) else { return };
        let changed = member.topics != join.topics || member.owned != join.owned;
        member.heard = now;
        match state {
            State::Stable if !is_leader && !changed => {
                member.attempt = join.attempt;
                self.answer_join(&join, Ok((member_id, generation)));
            }
            State::Completing if !changed => {
                member.attempt = join.attempt;
                self.answer_join(&join, Ok((member_id, generation)));
            }
            State::Preparing | State::Stable | State::Completing | State::Empty => {
                let assignment = std::mem::take(&mut member.assignment);
                self.put_member(&join, &member_id, assignment);
                self.prepare(&join.group, join.rebalance_timeout);
            }
        }
    }

    /// A static member that comes back without its id takes the place of what it was.
    fn replace_static(&mut self, join: Join, old_id: &str) {
        let Some(group) = self.brokers.groups.get_mut(&join.group) else { return };
        group.named += 1;
        let id = format!("{}-{}", join.instance, group.named);
        group.statics.insert(Arc::clone(&join.instance), id.clone());
        let old = group.members.remove(old_id);
        let is_leader = group.leader.as_deref() == Some(old_id);
        if is_leader {
            group.leader = Some(id.clone());
        }
        let (state, generation) = (group.state, group.generation);
        note!(self, "group: {id} takes the place of {old_id}");
        let assignment = old.map(|old| old.assignment).unwrap_or_default();
        self.put_member(&join, &id, assignment);
        self.watch_session(&join.group, &id);
        if state == State::Stable {
            // The same member as far as the others are concerned: it gets its assignment back.
            if let Some(member) = self.member_mut(&join.group, &id) {
                member.joined = false;
            }
            self.answer_join(&join, Ok((id, generation)));
        } else {
            self.prepare(&join.group, join.rebalance_timeout);
        }
    }

    fn member_mut(&mut self, group: &Arc<str>, id: &str) -> Option<&mut Member> {
        self.brokers.groups.get_mut(group)?.members.get_mut(id)
    }

    fn put_member(&mut self, join: &Join, id: &str, assignment: Vec<TopicPartition>) {
        let member = Member {
            instance: Arc::clone(&join.instance),
            consumer: join.consumer,
            attempt: join.attempt,
            topics: join.topics.clone(),
            owned: join.owned.clone(),
            owned_generation: join.owned_generation,
            joined: true,
            synced: false,
            heard: self.now,
            session: join.session,
            assignment,
        };
        if let Some(group) = self.brokers.groups.get_mut(&join.group) {
            group.members.insert(id.to_owned(), member);
        }
    }

    /// Begins a rebalance, or goes on with the one that has begun.
    fn prepare(&mut self, name: &Arc<str>, timeout: Micros) {
        let now = self.now;
        let Some(group) = self.brokers.groups.get_mut(name) else { return };
        if group.state != State::Preparing {
            let wait = if group.state == State::Empty { INITIAL_DELAY } else { 0 };
            group.state = State::Preparing;
            group.round += 1;
            group.may_complete_at = now + wait;
            // Who waits for an assignment is told that there will be another one.
            let mut waiting = Vec::new();
            for member in group.members.values_mut() {
                if std::mem::take(&mut member.synced) {
                    member.heard = now;
                    waiting.push((member.consumer, member.attempt));
                }
            }
            let (round, generation) = (group.round, group.generation);
            note!(self, "group: a rebalance begins after generation {generation}");
            for (consumer, attempt) in waiting {
                self.answer_sync(consumer, attempt, Err(Refusal::Rebalancing));
            }
            for after in [wait, wait + timeout] {
                let name = Arc::clone(name);
                self.after(after, move |world| {
                    let group = world.brokers.groups.get(&name);
                    if group.is_some_and(|group| group.round == round) {
                        world.complete_if_joined(&name, after > wait);
                    }
                });
            }
        }
        self.complete_if_joined(name, false);
    }

    fn complete_if_joined(&mut self, name: &Arc<str>, is_late: bool) {
        let now = self.now;
        let Some(group) = self.brokers.groups.get_mut(name) else { return };
        if group.state != State::Preparing || now < group.may_complete_at {
            return;
        }
        if group.members.is_empty() {
            group.state = State::Empty;
            group.generation += 1;
            group.leader = None;
            return;
        }
        // Static members stay until their session ends, whether they have joined or not.
        let all = group.members.values().all(|member| member.joined);
        let any = group.members.values().any(|member| member.joined);
        let enough = all || is_late && any;
        if !enough {
            return;
        }
        group.generation += 1;
        group.state = State::Completing;
        let joined = |id: &String| group.members.get(id).is_some_and(|member| member.joined);
        if !group.leader.as_ref().is_some_and(joined) {
            let first = group.members.iter().find(|(_, member)| member.joined);
            group.leader = first.map(|(id, _)| id.clone());
        }
        let generation = group.generation;
        let mut answers = Vec::new();
        for (id, member) in &mut group.members {
            if std::mem::take(&mut member.joined) {
                member.heard = now;
                answers.push((member.consumer, member.attempt, id.clone()));
            }
        }
        note!(self, "group: generation {generation} with {} members", answers.len());
        for (consumer, attempt, id) in answers {
            self.answer_joined(consumer, attempt, Ok((id, generation)));
        }
    }

    /// SyncGroup; a member's answer comes once the leader has said who gets what.
    pub(crate) fn group_sync(
        &mut self,
        name: &Arc<str>,
        consumer: ConsumerId,
        attempt: u64,
        identity: &GroupMetadata,
    ) {
        let now = self.now;
        let Some(group) = self.brokers.groups.get_mut(name) else { return };
        let checked = group.check(&identity.member_id, identity.group_instance_id.as_ref());
        let refusal = match checked {
            Err(refusal) => Some(refusal),
            Ok(_) if group.generation != identity.generation => Some(Refusal::IllegalGeneration),
            Ok(_) if group.state == State::Preparing => Some(Refusal::Rebalancing),
            Ok(_) => None,
        };
        if let Some(refusal) = refusal {
            return self.answer_sync(consumer, attempt, Err(refusal));
        }
        let is_leader = group.leader.as_deref() == Some(&*identity.member_id);
        let Some(member) = group.members.get_mut(&*identity.member_id) else { return };
        member.heard = now;
        member.attempt = attempt;
        if group.state == State::Stable {
            let assignment = member.assignment.clone();
            return self.answer_sync(consumer, attempt, Ok(assignment));
        }
        member.synced = true;
        if is_leader {
            self.share_out(name);
        }
    }

    /// The leader's assignment, and the answers to all who wait for it.
    fn share_out(&mut self, name: &Arc<str>) {
        let Some(group) = self.brokers.groups.get(name) else { return };
        let claims: Vec<Claim> = group
            .members
            .iter()
            .map(|(id, member)| Claim {
                member: id.clone(),
                partitions: member
                    .topics
                    .iter()
                    .flat_map(|topic| self.brokers.partitions(topic))
                    .collect(),
                owned: member.owned.clone(),
                generation: member.owned_generation,
            })
            .collect();
        let shares = assign(&claims);
        let mut answers = Vec::new();
        let Some(group) = self.brokers.groups.get_mut(name) else { return };
        group.state = State::Stable;
        for (id, assignment) in shares {
            let Some(member) = group.members.get_mut(&id) else { continue };
            member.assignment = assignment;
            if std::mem::take(&mut member.synced) {
                answers.push((member.consumer, member.attempt, member.assignment.clone()));
            }
        }
        for (consumer, attempt, assignment) in answers {
            self.answer_sync(consumer, attempt, Ok(assignment));
        }
    }

    /// Heartbeat.
    pub(crate) fn group_heartbeat(
        &mut self,
        name: &Arc<str>,
        identity: &GroupMetadata,
    ) -> Result<(), Refusal> {
        let now = self.now;
        let group = self.brokers.groups.get_mut(name).ok_or(Refusal::UnknownMember)?;
        group.check(&identity.member_id, identity.group_instance_id.as_ref())?;
        if group.generation != identity.generation {
            return Err(Refusal::IllegalGeneration);
        }
        let state = group.state;
        if let Some(member) = group.members.get_mut(&*identity.member_id) {
            member.heard = now;
        }
        if state == State::Preparing { Err(Refusal::Rebalancing) } else { Ok(()) }
    }

    /// LeaveGroup.
    pub(crate) fn group_leave(&mut self, name: &Arc<str>, member_id: &str, why: &str) {
        let Some(group) = self.brokers.groups.get_mut(name) else { return };
        let Some(member) = group.members.remove(member_id) else { return };
        if group.statics.get(&member.instance).map(String::as_str) == Some(member_id) {
            group.statics.remove(&member.instance);
        }
        note!(self, "group: {member_id} {why}");
        self.prepare(name, 60_000_000);
    }

    /// Begins a rebalance where a partition is nobody's although the group is stable; says whether it
    /// did. A static member that restarts between the two halves of a cooperative rebalance has its
    /// assignment back at once, and nobody knows any more that it was to join once again.
    pub(crate) fn rebalance_orphans(&mut self, name: &str) -> bool {
        let Some((name, group)) = self.brokers.groups.get_key_value(name) else { return false };
        let members = group.members.values();
        let assigned: Vec<&TopicPartition> =
            members.clone().flat_map(|member| &member.assignment).collect();
        let is_orphan = |topic: &Arc<str>| {
            self.brokers.partitions(topic).iter().any(|partition| !assigned.contains(&partition))
        };
        let mut topics = members.flat_map(|member| &member.topics);
        let found = group.state == State::Stable && topics.any(is_orphan);
        if found {
            let name = Arc::clone(name);
            note!(self, "group: a partition is nobody's; it is made to rebalance");
            self.prepare(&name, 60_000_000);
        }
        found
    }

    fn watch_session(&mut self, name: &Arc<str>, member_id: &str) {
        let Some(member) = self.member_mut(name, member_id) else { return };
        let due = member.heard + member.session;
        // Who waits for an answer of the coordinator's cannot be expected to say anything.
        let waits = member.joined || member.synced;
        let (name, id) = (Arc::clone(name), member_id.to_owned());
        if self.now >= due && !waits {
            return self.group_leave(&name, &id, "has not been heard of");
        }
        let next = if self.now >= due { self.now + 500_000 } else { due };
        self.at(next, move |world| world.watch_session(&name, &id));
    }

    /// OffsetFetch of stable offsets.
    pub(crate) fn group_offsets(
        &self,
        name: &Arc<str>,
        partitions: &[TopicPartition],
    ) -> Reply<Vec<Option<Committed>>> {
        let Some(group) = self.brokers.groups.get(name) else {
            return Reply::Done(Ok(vec![None; partitions.len()]));
        };
        if !group.is_stable_for(partitions) {
            let (class, code) = (ErrorClass::Retriable, "UNSTABLE_OFFSET_COMMIT");
            let error =
                KafkaError::new(class, code, "fetch committed offsets", "a transaction is open");
            return Reply::Again(200_000, error);
        }
        Reply::Done(Ok(partitions.iter().map(|at| group.committed.get(at).cloned()).collect()))
    }

    /// The broker that coordinates a group.
    pub(crate) fn coordinator_of(name: &str) -> usize {
        Brokers::coordinator(name)
    }
}
