//! What an admin client sees and changes.

use tidemill::kafka::{
    Admin, Cluster, ErrorClass, Isolation, NewTopic, Offset, OffsetSpec, TopicPartition,
};
use tidemill_test_support::patience::wait_for;
use tidemill_test_support::unique;

use super::{LIMIT, cluster, send_all, topic};

#[test]
fn a_topic_is_created_described_and_deleted() {
    let cluster = cluster();
    let admin = cluster.admin().expect("an admin client");
    let (name, missing) = (unique("admin"), unique("missing"));
    let new = NewTopic::new(&name, 3)
        .with("cleanup.policy", "compact")
        .with("delete.retention.ms", "1234567");
    admin.create_topics(std::slice::from_ref(&new), LIMIT).expect("an answer")[0]
        .as_ref()
        .expect("new");
    let again = admin.create_topics(&[new], LIMIT).expect("an answer").remove(0);
    assert_eq!(again.expect_err("it exists").class(), ErrorClass::AlreadyExists);

    let described = admin.describe_topics(&[&missing, &name], LIMIT).expect("an answer");
    assert_eq!(described[0], None);
    let first = described[1].clone().expect("a topic");
    assert_eq!((first.name.as_ref(), first.partitions.len()), (name.as_str(), 3));
    assert!(first.partitions.iter().all(|partition| partition.leader.is_some()));
    let config = admin.topic_config(&name, LIMIT).expect("an answer");
    assert_eq!(config["cleanup.policy"], "compact");
    assert_eq!(config["delete.retention.ms"], "1234567");
    assert!(config.contains_key("max.message.bytes"), "defaults too");
    assert!(admin.list_topics(LIMIT).expect("an answer").contains(&name));

    admin.delete_topics(&[&name], LIMIT).expect("an answer")[0].as_ref().expect("it was there");
    let gone = admin.delete_topics(&[&name], LIMIT).expect("an answer").remove(0);
    assert_eq!(gone.expect_err("gone").class(), ErrorClass::UnknownTopicOrPartition);
    admin.create_topics(&[NewTopic::new(&name, 3)], LIMIT).expect("an answer")[0]
        .as_ref()
        .expect("new again");
    // The broker hears of what the controller did a moment later.
    let second = wait_for("the new topic", LIMIT, || {
        let found = admin.describe_topics(&[&name], LIMIT).expect("an answer").remove(0);
        found.filter(|found| found.id != first.id)
    });
    assert!(first.id.is_some() && second.id.is_some());
    assert_eq!(second.partitions.len(), 3);
}

#[test]
fn a_setting_the_broker_does_not_know_is_refused_with_its_words() {
    let admin = cluster().admin().expect("an admin client");
    let new = NewTopic::new(unique("admin"), 1).with("no.such.setting", "1");
    let refused = admin.create_topics(&[new], LIMIT).expect("an answer").remove(0);
    let error = refused.expect_err("an unknown setting");
    assert_eq!(error.class(), ErrorClass::Configuration, "{error}");
    assert!(error.message().contains("no.such.setting"), "{error}");
}

#[test]
fn deleted_records_move_the_log_start() {
    let cluster = cluster();
    let name = topic(&cluster, 1);
    send_all(&cluster, &name, 0, &["0", "1", "2"]);
    let admin = cluster.admin().expect("an admin client");
    let partition = TopicPartition::new(name.as_str(), 0);
    let offset = |spec| {
        let partitions = [partition.clone()];
        let found = admin.list_offsets(&partitions, spec, Isolation::ReadUncommitted, LIMIT);
        found.expect("an answer")[0].offset
    };
    assert_eq!(offset(OffsetSpec::Earliest), Some(Offset(0)));
    admin.delete_records(&[(partition.clone(), Offset(2))], LIMIT).expect("a purge");
    assert_eq!(offset(OffsetSpec::Earliest), Some(Offset(2)));
    assert_eq!(offset(OffsetSpec::Latest), Some(Offset(3)));
    assert_eq!(offset(OffsetSpec::AtTime(1_600_000_000_000)), Some(Offset(2)));
    assert_eq!(offset(OffsetSpec::AtTime(1_900_000_000_000)), None);
    let beyond = admin.delete_records(&[(partition.clone(), Offset(9))], LIMIT);
    assert_eq!(beyond.expect_err("beyond the end").class(), ErrorClass::OffsetOutOfRange);
}

#[test]
fn a_groups_offsets_are_set_listed_and_forgotten() {
    let cluster = cluster();
    let (name, group) = (topic(&cluster, 2), unique("group"));
    let admin = cluster.admin().expect("an admin client");
    assert!(admin.group_members(&group, LIMIT).expect("an answer").is_empty());
    let partition = TopicPartition::new(name.as_str(), 1);
    admin
        .alter_group_offsets(&group, &[(partition.clone(), Offset(7))], LIMIT)
        .expect("no members");
    let offsets = admin.group_offsets(&group, LIMIT).expect("an answer");
    assert_eq!(offsets.len(), 1);
    assert_eq!((&offsets[0].partition, offsets[0].offset), (&partition, Offset(7)));
    admin.delete_group(&group, LIMIT).expect("no members");
    assert!(admin.group_offsets(&group, LIMIT).expect("an answer").is_empty());
}

#[test]
fn a_cluster_has_an_id() {
    let admin = cluster().admin().expect("an admin client");
    assert!(!admin.cluster_id(LIMIT).expect("an answer").is_empty());
}
