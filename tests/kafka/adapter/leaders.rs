//! Leaders that change while nobody asks for them: librdkafka goes by what it heard last.

use tidemill::kafka::{Admin, Cluster, Isolation, Librdkafka, Offset, OffsetSpec, TopicPartition};
use tidemill_test_support::KafkaCluster;
use tidemill_test_support::patience::wait_for;

use super::{LIMIT, send_all, topic};

const REASSIGNMENT: &str = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand";

#[test]
fn offsets_are_listed_though_the_leader_was_elected_again_since_it_was_last_heard_of() {
    let brokers = KafkaCluster::start(2);
    let properties = [
        ("bootstrap.servers".to_owned(), brokers.bootstrap()),
        // Longer than this test: the client never looks for leaders of its own accord.
        ("topic.metadata.refresh.interval.ms".to_owned(), "300000".to_owned()),
    ];
    let cluster = Librdkafka::new(properties.into()).expect("properties that may be set");
    let name = topic(&cluster, 1);
    send_all(&cluster, &name, 0, &["0", "1", "2"]);
    let admin = cluster.admin().expect("an admin client");
    let end = || {
        let partitions = [TopicPartition::new(name.as_str(), 0)];
        let spec = OffsetSpec::Latest;
        let found = admin.list_offsets(&partitions, spec, Isolation::ReadUncommitted, LIMIT);
        found.expect("an answer")[0].offset
    };
    assert_eq!(end(), Some(Offset(3)));

    let leader = || {
        let admin = cluster.admin().expect("another admin client");
        let topic = admin.describe_topics(&[&name], LIMIT).expect("an answer").remove(0);
        topic.expect("the topic").partitions[0].leader
    };
    let first = leader().expect("a leader");
    for target in [3 - first, first] {
        let plan = brokers.folder().join("plan.json");
        let text = format!(
            r#"{{"version":1,"partitions":[{{"topic":"{name}","partition":0,"replicas":[{target}]}}]}}"#
        );
        std::fs::write(&plan, text).expect("a file");
        let plan = plan.to_str().expect("a path in UTF-8");
        brokers.tool(REASSIGNMENT, &["--reassignment-json-file", plan, "--execute"]);
        wait_for("the new leader", LIMIT, || (leader() == Some(target)).then_some(()));
    }
    assert_eq!(end(), Some(Offset(3)));
}
