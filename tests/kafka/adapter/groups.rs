//! How a group's partitions are divided, handed over, and lost.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tidemill::kafka::{
    Admin, Cluster, Committed, Consumer, ConsumerRole, ErrorClass, Event, Message, Offset,
    Producer, StartAt, TopicPartition,
};
use tidemill_test_support::unique;

use super::{
    LIMIT, Librdkafka, NativeConsumer, Polled, cluster, cluster_with, consumer, poll_into,
    producer, send, topic,
};

const DYNAMIC: ConsumerRole = ConsumerRole::Member { group_instance_id: None };

/// A member that reads `follower` wherever the group gives it a partition of `lead`.
struct Member {
    consumer: NativeConsumer,
    lead: String,
    follower: String,
    held: BTreeSet<i32>,
    polled: Polled,
    lost: usize,
    generation: i32,
}

impl Member {
    fn join(
        cluster: &Librdkafka,
        role: ConsumerRole,
        group: &str,
        lead: &str,
        follower: &str,
    ) -> Self {
        let mut consumer = consumer(cluster, role, group);
        consumer.subscribe(&[lead]).expect("a subscription");
        Self {
            consumer,
            lead: lead.into(),
            follower: follower.into(),
            held: BTreeSet::new(),
            polled: Polled::default(),
            lost: 0,
            generation: -1,
        }
    }

    fn both(&self, partitions: &[TopicPartition]) -> Vec<TopicPartition> {
        partitions
            .iter()
            .flat_map(|tp| {
                assert_eq!(*tp.topic, *self.lead, "the group knows the lead topic only");
                [tp.clone(), TopicPartition::new(self.follower.as_str(), tp.partition)]
            })
            .collect()
    }

    /// Polls, and answers what the group asks.
    fn turn(&mut self) {
        poll_into(&mut self.consumer, &mut self.polled);
        for event in std::mem::take(&mut self.polled.events) {
            match event {
                Event::Assigned { partitions, identity } => {
                    assert!(identity.is_member(), "{identity:?}");
                    self.generation = identity.generation;
                    let both = self.both(&partitions);
                    let committed = self.consumer.committed(&both, LIMIT).expect("offsets");
                    let start = both.into_iter().zip(committed).map(|(partition, committed)| {
                        let offset = committed.map_or(Offset::ZERO, |committed| committed.offset);
                        StartAt::offset(partition, offset)
                    });
                    let start: Vec<_> = start.collect();
                    self.consumer.incremental_assign(&start).expect("an assignment");
                    self.held.extend(partitions.iter().map(|tp| tp.partition));
                }
                Event::Revoked(partitions) => {
                    let both = self.both(&partitions);
                    self.commit(&both).expect("still a member");
                    self.give_up(&partitions, &both);
                }
                Event::Lost(partitions) => {
                    self.lost += 1;
                    let both = self.both(&partitions);
                    self.give_up(&partitions, &both);
                }
                other => self.polled.events.push(other),
            }
        }
    }

    fn commit(&mut self, partitions: &[TopicPartition]) -> Result<(), tidemill::kafka::KafkaError> {
        let offsets: Vec<_> = partitions
            .iter()
            .filter_map(|partition| {
                let offset = self.consumer.position(partition)?;
                let (partition, metadata) = (partition.clone(), String::new());
                Some(Committed { partition, offset, leader_epoch: None, metadata })
            })
            .collect();
        self.consumer.commit(&offsets)
    }

    fn give_up(&mut self, partitions: &[TopicPartition], both: &[TopicPartition]) {
        self.consumer.incremental_unassign(both).expect("both are assigned");
        for tp in partitions {
            self.held.remove(&tp.partition);
        }
    }
}

fn turn_until(
    members: &mut [&mut Member],
    what: &str,
    mut enough: impl FnMut(&[&mut Member]) -> bool,
) {
    let started = Instant::now();
    while !enough(members) {
        assert!(started.elapsed() < LIMIT, "waited for {what}");
        for member in &mut *members {
            member.turn();
        }
    }
}

#[test]
fn two_members_share_the_lead_topic_and_its_followers_and_lose_no_record() {
    let cluster = cluster();
    let (lead, follower) = (topic(&cluster, 4), topic(&cluster, 4));
    let group = unique("group");
    let mut source = producer(&cluster, Some(&unique("id")));
    source.init_transactions(LIMIT).expect("a coordinator");
    let mut written = 0;
    let mut write = |count: usize| {
        source.begin().expect("no transaction is open");
        for _ in 0..count {
            for partition in 0..4 {
                send(&mut source, &lead, partition, &format!("lead-{partition}-{written}"));
                send(&mut source, &follower, partition, &format!("follower-{partition}-{written}"));
            }
            written += 1;
        }
        source.commit(LIMIT).expect("an end");
        written * 8
    };

    let total = write(50);
    let mut first = Member::join(&cluster, DYNAMIC, &group, &lead, &follower);
    turn_until(&mut [&mut first], "everything", |members| members[0].polled.records.len() == total);
    assert_eq!(first.held.len(), 4);

    // The first keeps two partitions through this, standing at their ends, where the log is a
    // control record: what comes next must not be passed over.
    let mut second = Member::join(&cluster, DYNAMIC, &group, &lead, &follower);
    turn_until(&mut [&mut first, &mut second], "a division", |members| {
        members.iter().all(|member| member.held.len() == 2)
    });
    let total = write(50);
    turn_until(&mut [&mut first, &mut second], "everything", |members| {
        members.iter().map(|member| member.polled.records.len()).sum::<usize>() >= total
    });
    assert_eq!((first.lost, second.lost), (0, 0));

    // And back: the second leaves, and the first reads on from its offsets.
    second.commit(&second.both(&second.held_partitions())).expect("a member");
    let Member { consumer, polled, .. } = second;
    consumer.close(LIMIT, false).expect("a quick end");
    turn_until(&mut [&mut first], "the rest", |members| members[0].held.len() == 4);
    let total = write(50);
    turn_until(&mut [&mut first], "everything", |members| {
        members[0].polled.records.len() + polled.records.len() >= total
    });
    let mut values = first.polled.values();
    values.extend(polled.values());
    assert_eq!(values.len(), total, "some came twice");
    assert_eq!(values.iter().collect::<BTreeSet<_>>().len(), total, "some never came");
}

impl Member {
    fn held_partitions(&self) -> Vec<TopicPartition> {
        let name = |partition: &i32| TopicPartition::new(self.lead.as_str(), *partition);
        self.held.iter().map(name).collect()
    }
}

#[test]
fn the_position_passes_the_control_record_at_the_end() {
    let cluster = cluster();
    let (lead, follower) = (topic(&cluster, 1), topic(&cluster, 1));
    let mut source = producer(&cluster, Some(&unique("id")));
    source.init_transactions(LIMIT).expect("a coordinator");
    source.begin().expect("no transaction is open");
    send(&mut source, &lead, 0, "value");
    source.commit(LIMIT).expect("an end");
    let mut member = Member::join(&cluster, DYNAMIC, &unique("group"), &lead, &follower);
    let partition = TopicPartition::new(lead.as_str(), 0);
    turn_until(&mut [&mut member], "the end", |members| {
        members[0].consumer.position(&partition) == Some(Offset(2))
    });
    assert_eq!(member.polled.values(), ["value"]);
    let ends = |event: &Event| matches!(event, Event::EndOfPartition { .. });
    assert!(!member.polled.events.iter().any(ends), "members are not told of ends");
}

#[test]
fn a_static_member_that_ends_comes_back_to_its_partitions_without_a_rebalance() {
    let cluster = cluster();
    let (lead, follower) = (topic(&cluster, 4), topic(&cluster, 4));
    let group = unique("group");
    let fixed = |name: &str| ConsumerRole::Member { group_instance_id: Some(name.into()) };
    let mut first = Member::join(&cluster, fixed("one"), &group, &lead, &follower);
    let mut second = Member::join(&cluster, fixed("two"), &group, &lead, &follower);
    turn_until(&mut [&mut first, &mut second], "a division", |members| {
        members.iter().all(|member| member.held.len() == 2)
    });
    let (generation, held) = (second.generation, second.held.clone());
    let identity = second.consumer.group_metadata();
    assert_eq!(identity.group_instance_id.as_deref(), Some("two"));
    drop(second);
    let mut second = Member::join(&cluster, fixed("two"), &group, &lead, &follower);
    turn_until(&mut [&mut first, &mut second], "its return", |members| members[1].held.len() == 2);
    assert_eq!((second.generation, &second.held), (generation, &held));
    assert_eq!((first.generation, first.held.len()), (generation, 2));

    let members = cluster.admin().expect("an admin client").group_members(&group, LIMIT);
    let members = members.expect("an answer");
    let mut names: Vec<_> = members.iter().map(|m| m.group_instance_id.clone()).collect();
    names.sort();
    assert_eq!(names, [Some("one".to_owned()), Some("two".to_owned())]);
    assert!(members.iter().all(|member| member.client_id == "adapter-test"));
    assert!(members.iter().all(|member| member.assignment.len() == 2));
}

#[test]
fn a_static_member_that_closes_stays_in_its_group_unless_it_is_to_leave() {
    let cluster = cluster();
    let (lead, follower) = (topic(&cluster, 2), topic(&cluster, 2));
    let group = unique("group");
    let admin = cluster.admin().expect("an admin client");
    for (leave, left) in [(false, 1), (true, 0)] {
        let role = ConsumerRole::Member { group_instance_id: Some("one".into()) };
        let mut member = Member::join(&cluster, role, &group, &lead, &follower);
        turn_until(&mut [&mut member], "an assignment", |members| members[0].held.len() == 2);
        let started = Instant::now();
        member.consumer.close(LIMIT, leave).expect("a quick end");
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        assert_eq!(admin.group_members(&group, LIMIT).expect("an answer").len(), left);
    }
}

#[test]
fn a_second_static_member_of_the_same_name_fences_the_first() {
    let cluster = cluster();
    let (lead, follower) = (topic(&cluster, 1), topic(&cluster, 1));
    let group = unique("group");
    let role = || ConsumerRole::Member { group_instance_id: Some("same".into()) };
    let mut first = Member::join(&cluster, role(), &group, &lead, &follower);
    turn_until(&mut [&mut first], "an assignment", |members| members[0].held.len() == 1);
    let mut second = Member::join(&cluster, role(), &group, &lead, &follower);
    turn_until(&mut [&mut first, &mut second], "a fenced member", |members| {
        members[0].consumer.fatal_error().is_some()
    });
    let error = first.consumer.fatal_error().expect("just seen");
    assert_eq!(error.class(), ErrorClass::Fenced, "{error}");
}

#[test]
fn a_member_that_does_not_poll_loses_its_partitions_and_is_told() {
    let cluster = cluster_with(&[
        ("consumer.max.poll.interval.ms", "6000"),
        ("consumer.session.timeout.ms", "6000"),
    ]);
    let (lead, follower) = (topic(&cluster, 1), topic(&cluster, 1));
    let group = unique("group");
    let mut member = Member::join(&cluster, DYNAMIC, &group, &lead, &follower);
    turn_until(&mut [&mut member], "an assignment", |members| members[0].held.len() == 1);
    std::thread::sleep(Duration::from_secs(8));
    assert!(member.consumer.assignment_lost());
    assert!(!member.consumer.group_metadata().is_member());
    turn_until(&mut [&mut member], "a loss", |members| members[0].lost == 1);
    let exceeded = |event: &Event| matches!(event, Event::MaxPollExceeded(_));
    assert!(member.polled.events.iter().any(exceeded), "{:?}", member.polled.events);
    turn_until(&mut [&mut member], "a new assignment", |members| members[0].held.len() == 1);
}

#[test]
fn closing_returns_in_time_with_a_rebalance_in_flight() {
    let cluster = cluster();
    let (lead, follower) = (topic(&cluster, 4), topic(&cluster, 4));
    let group = unique("group");
    let mut first = Member::join(&cluster, DYNAMIC, &group, &lead, &follower);
    turn_until(&mut [&mut first], "an assignment", |members| members[0].held.len() == 4);
    let second = Member::join(&cluster, DYNAMIC, &group, &lead, &follower);
    // The first hears of the second, is asked to give partitions up, and closes instead.
    std::thread::sleep(Duration::from_secs(4));
    let mut unanswered = Polled::default();
    poll_into(&mut first.consumer, &mut unanswered);
    let started = Instant::now();
    first.consumer.close(LIMIT, false).expect("a quick end");
    second.consumer.close(LIMIT, false).expect("a quick end");
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}

#[test]
fn an_event_wakes_a_waiting_poll() {
    let cluster = cluster();
    let lead = topic(&cluster, 1);
    let mut member = consumer(&cluster, DYNAMIC, &unique("group"));
    member.subscribe(&[&lead]).expect("a subscription");
    let started = Instant::now();
    let (mut records, mut events) = (Vec::new(), Vec::new());
    member.poll(10, LIMIT, &mut records, &mut events);
    assert!(matches!(events.first(), Some(Event::Assigned { .. })), "{events:?}");
    assert!(started.elapsed() < LIMIT / 2, "{:?}", started.elapsed());
    assert!(records.iter().all(|record| record.message.partition() == 0));
}
