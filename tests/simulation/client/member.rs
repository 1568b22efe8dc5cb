//! The background of a consumer that is a member of a group, as librdkafka's `rdkafka_cgrp.c` has
//! it for the cooperative protocol.
//!
//! ```text
//! Idle --> Joining --> Syncing --> Steady --(heartbeat: rebalance)--> Joining
//! ```
//!
//! What a new assignment takes away is asked back first ([`Event::Revoked`]); after the answer, the
//! rest is assigned, and the member joins again. While a question is unanswered, it does not join.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidemill::kafka::{ErrorClass, Event, GroupMetadata, KafkaError, TopicPartition};

use crate::client::ConsumerId;
use crate::cluster::group::{Join, Refusal};
use crate::world::{Life, Micros, ProcessId, World, note};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Joining,
    Syncing,
    Steady,
}

/// What follows once the thread has answered a rebalance.
#[derive(Debug)]
enum Then {
    Nothing,
    /// The other half of an assignment that took something away.
    Assign(Vec<TopicPartition>),
    Join,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Membership {
    life: Life,
    group: Arc<str>,
    instance: Arc<str>,
    topics: Vec<Arc<str>>,
    member_id: String,
    generation: i32,
    phase: Phase,
    /// Counts requests, so that the answer to an old one is not taken for a new one's.
    attempt: u64,
    assigned: BTreeSet<TopicPartition>,
    owned_generation: i32,
    question: Option<Then>,
    joins_later: bool,
    pub(crate) lost: bool,
    pub(crate) fatal: bool,
    pub(crate) last_poll: Micros,
}

impl Membership {
    pub(crate) fn new(life: Life, group: &Arc<str>, instance: Arc<str>, now: Micros) -> Self {
        Self {
            life,
            group: Arc::clone(group),
            instance,
            topics: Vec::new(),
            member_id: String::new(),
            generation: -1,
            phase: Phase::Idle,
            attempt: 0,
            assigned: BTreeSet::new(),
            owned_generation: -1,
            question: None,
            joins_later: false,
            lost: false,
            fatal: false,
            last_poll: now,
        }
    }

    pub(crate) fn identity(&self) -> GroupMetadata {
        GroupMetadata {
            group_id: Arc::clone(&self.group),
            generation: if self.member_id.is_empty() { -1 } else { self.generation },
            member_id: self.member_id.as_str().into(),
            group_instance_id: Some(Arc::clone(&self.instance)),
        }
    }
}

impl World {
    /// Begins to be a member.
    pub(crate) fn subscribe(&mut self, id: ConsumerId, topics: &[&str]) {
        let Some(member) = self.clients.members.get_mut(&id) else { return };
        member.topics = topics.iter().map(|topic| Arc::from(*topic)).collect();
        self.join(id);
        self.heartbeat(id);
    }

    fn join(&mut self, id: ConsumerId) {
        let timing = self.clients.timing;
        let Some(member) = self.clients.members.get_mut(&id) else { return };
        if member.fatal {
            return;
        }
        if member.question.is_some() {
            member.joins_later = true;
            return;
        }
        member.joins_later = false;
        member.phase = Phase::Joining;
        member.attempt += 1;
        let join = Join {
            group: Arc::clone(&member.group),
            consumer: id,
            attempt: member.attempt,
            member_id: member.member_id.clone(),
            instance: Arc::clone(&member.instance),
            topics: member.topics.clone(),
            owned: member.assigned.iter().cloned().collect(),
            owned_generation: member.owned_generation,
            session: timing.session,
            rebalance_timeout: timing.max_poll,
        };
        let (life, attempt) = (member.life, member.attempt);
        self.strike_at_join(life.process);
        let at = self.arrival(life.process, Self::coordinator_of(&join.group));
        let lost = self.weather.lost_requests + self.weather.lost_answers;
        if self.random.chance(lost) {
            // Sent again when the connection is back, whether it arrived or not.
            let again = at + self.random.between(200_000, 1_500_000);
            self.within(life, again, move |world| {
                let member = world.clients.members.get(&id);
                if member.is_some_and(|m| m.attempt == attempt && m.phase == Phase::Joining) {
                    world.join(id);
                }
            });
            if self.random.chance(500) {
                return;
            }
        }
        self.at(at, move |world| world.group_join(join));
    }

    /// Lets happen to a process what is to happen when it joins.
    fn strike_at_join(&mut self, process: ProcessId) {
        let now = self.now;
        let Some(state) = self.processes.get_mut(&process) else { return };
        let Some((cut, time)) = state.at_join.take() else { return };
        note!(self, "{process} joins, and hears nothing for {} s", time as f64 / 1e6);
        if cut {
            self.cut(process, now + time);
        } else {
            self.pause(process, now + time);
        }
    }

    pub(crate) fn answer_join(&mut self, join: &Join, answer: Result<(String, i32), Refusal>) {
        self.answer_joined(join.consumer, join.attempt, answer);
    }

    /// The coordinator's answer to a JoinGroup.
    pub(crate) fn answer_joined(
        &mut self,
        id: ConsumerId,
        attempt: u64,
        answer: Result<(String, i32), Refusal>,
    ) {
        let Some(member) = self.clients.members.get(&id) else { return };
        let life = member.life;
        let at = self.now + self.latency();
        self.within(life, at, move |world| {
            let Some(member) = world.clients.members.get_mut(&id) else { return };
            if member.attempt != attempt || member.phase != Phase::Joining {
                return;
            }
            match answer {
                Ok((member_id, generation)) => {
                    member.member_id = member_id;
                    member.generation = generation;
                    member.phase = Phase::Syncing;
                    member.attempt += 1;
                    world.sync(id);
                }
                Err(refusal) => world.refused(id, refusal),
            }
        });
    }

    /// A refusal while joining or syncing: joins anew, without a word of loss.
    fn refused(&mut self, id: ConsumerId, refusal: Refusal) {
        let Some(member) = self.clients.members.get_mut(&id) else { return };
        note!(self, "{}: refused with {refusal:?}; joins anew", member.instance);
        match refusal {
            Refusal::FencedInstance => return self.fail_member(id),
            Refusal::UnknownMember => {
                member.member_id.clear();
                member.generation = -1;
            }
            Refusal::IllegalGeneration => member.generation = -1,
            Refusal::Rebalancing => {}
        }
        let life = member.life;
        let attempt = member.attempt;
        let at = self.now + 100_000;
        self.within(life, at, move |world| {
            if world.clients.members.get(&id).is_some_and(|member| member.attempt == attempt) {
                world.join(id);
            }
        });
    }

    fn sync(&mut self, id: ConsumerId) {
        let Some(member) = self.clients.members.get(&id) else { return };
        let (life, attempt) = (member.life, member.attempt);
        let (group, identity) = (Arc::clone(&member.group), member.identity());
        let at = self.arrival(life.process, Self::coordinator_of(&group));
        self.at(at, move |world| world.group_sync(&group, id, attempt, &identity));
    }

    /// The coordinator's answer to a SyncGroup.
    pub(crate) fn answer_sync(
        &mut self,
        id: ConsumerId,
        attempt: u64,
        answer: Result<Vec<TopicPartition>, Refusal>,
    ) {
        let Some(member) = self.clients.members.get(&id) else { return };
        let life = member.life;
        let at = self.now + self.latency();
        self.within(life, at, move |world| {
            let Some(member) = world.clients.members.get_mut(&id) else { return };
            if member.attempt != attempt || member.phase != Phase::Syncing {
                return;
            }
            match answer {
                Ok(assignment) => {
                    member.phase = Phase::Steady;
                    world.take_assignment(id, assignment);
                }
                Err(refusal) => world.refused(id, refusal),
            }
        });
    }

    fn take_assignment(&mut self, id: ConsumerId, assignment: Vec<TopicPartition>) {
        let Some(member) = self.clients.members.get_mut(&id) else { return };
        let new: BTreeSet<TopicPartition> = assignment.into_iter().collect();
        let added: Vec<TopicPartition> = new.difference(&member.assigned).cloned().collect();
        let revoked: Vec<TopicPartition> = member.assigned.difference(&new).cloned().collect();
        member.assigned = new;
        member.owned_generation = member.generation;
        if revoked.is_empty() {
            self.ask_to_assign(id, added, Then::Nothing);
        } else {
            note!(self, "{}: asked to give up {}", member.instance, names(&revoked));
            member.question = Some(Then::Assign(added));
            self.bring(id, Event::Revoked(revoked));
        }
    }

    fn ask_to_assign(&mut self, id: ConsumerId, partitions: Vec<TopicPartition>, then: Then) {
        let Some(member) = self.clients.members.get_mut(&id) else { return };
        note!(
            self,
            "{}: given {} in generation {}",
            member.instance,
            names(&partitions),
            member.generation
        );
        member.question = Some(then);
        let identity = member.identity();
        self.bring(id, Event::Assigned { partitions, identity });
    }

    fn bring(&mut self, id: ConsumerId, event: Event) {
        if let Some(reader) = self.clients.readers.get_mut(&id) {
            reader.events.push_back(event);
        }
        self.wake_reader(id);
    }

    /// The thread has answered a rebalance.
    pub(crate) fn answered(&mut self, id: ConsumerId) {
        let Some(member) = self.clients.members.get_mut(&id) else { return };
        let Some(then) = member.question.take() else { return };
        match then {
            Then::Assign(added) => self.ask_to_assign(id, added, Then::Join),
            Then::Join => {
                member.lost = false;
                self.join(id);
            }
            Then::Nothing if member.joins_later => self.join(id),
            Then::Nothing => {}
        }
    }

    fn heartbeat(&mut self, id: ConsumerId) {
        let timing = self.clients.timing;
        let now = self.now;
        let Some(member) = self.clients.members.get_mut(&id) else { return };
        if member.fatal {
            return;
        }
        let life = member.life;
        if now - member.last_poll > timing.max_poll && !member.member_id.is_empty() {
            note!(self, "{}: has not polled for too long", member.instance);
            // A static member does not say that it leaves.
            member.member_id.clear();
            let (class, code) = (ErrorClass::NotAMember, "_MAX_POLL_EXCEEDED");
            let error = KafkaError::new(class, code, "poll", "not called for too long");
            self.lose(id);
            self.bring(id, Event::MaxPollExceeded(error));
        } else if member.phase == Phase::Steady {
            let (group, identity) = (Arc::clone(&member.group), member.identity());
            let at = self.arrival(life.process, Self::coordinator_of(&group));
            self.at(at, move |world| {
                let answer = world.group_heartbeat(&group, &identity);
                let at = world.now + world.latency();
                world.within(life, at, move |world| world.beaten(id, &identity, answer));
            });
        }
        let next = self.now + timing.heartbeat;
        self.within(life, next, move |world| world.heartbeat(id));
    }

    /// The coordinator's answer to a heartbeat.
    fn beaten(&mut self, id: ConsumerId, of: &GroupMetadata, answer: Result<(), Refusal>) {
        let Some(member) = self.clients.members.get_mut(&id) else { return };
        if member.phase != Phase::Steady || member.identity() != *of {
            return;
        }
        let Err(refusal) = answer else { return };
        match refusal {
            Refusal::Rebalancing => return self.join(id),
            Refusal::FencedInstance => return self.fail_member(id),
            Refusal::UnknownMember => member.member_id.clear(),
            Refusal::IllegalGeneration => member.generation = -1,
        }
        note!(self, "{}: heartbeat refused with {refusal:?}", member.instance);
        self.lose(id);
    }

    /// The assignment is gone. During a rebalance nothing is said of it: the next heartbeat
    /// finds the same.
    fn lose(&mut self, id: ConsumerId) {
        let Some(member) = self.clients.members.get_mut(&id) else { return };
        if member.question.is_some() {
            return;
        }
        member.lost = true;
        member.phase = Phase::Idle;
        member.owned_generation = -1;
        let lost: Vec<TopicPartition> = std::mem::take(&mut member.assigned).into_iter().collect();
        note!(self, "{}: lost {}", member.instance, names(&lost));
        member.question = Some(Then::Join);
        self.bring(id, Event::Lost(lost));
    }

    fn fail_member(&mut self, id: ConsumerId) {
        let Some(member) = self.clients.members.get_mut(&id) else { return };
        note!(self, "{}: fenced by another process of its name", member.instance);
        member.fatal = true;
        member.lost = true;
        member.member_id.clear();
        let error = Refusal::FencedInstance.error("heartbeat", ErrorClass::Fenced);
        self.bring(id, Event::Error { partition: None, error });
    }

    /// What to tell the coordinator when the member leaves for good.
    pub(crate) fn farewell(&self, id: ConsumerId) -> Option<(Arc<str>, String)> {
        let member = self.clients.members.get(&id)?;
        let is_member = !member.member_id.is_empty();
        is_member.then(|| (Arc::clone(&member.group), member.member_id.clone()))
    }
}

fn names(partitions: &[TopicPartition]) -> String {
    if partitions.is_empty() {
        return "nothing".to_owned();
    }
    partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
