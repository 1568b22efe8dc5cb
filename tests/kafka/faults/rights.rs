//! The cluster takes an instance's rights away.

use tidemill_test_support::KafkaCluster;

use super::words::Words;

const AUTHORIZER: &str = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
const ACLS: &str = "org.apache.kafka.tools.AclCommand";

#[test]
fn rights_that_are_lost_end_the_instance_and_what_is_denied_is_named() {
    let properties =
        [("authorizer.class.name", AUTHORIZER), ("allow.everyone.if.no.acl.found", "true")];
    let cluster = KafkaCluster::start_with(1, 512, &properties);
    let words = Words::open(&cluster.bootstrap(), 1);
    let instance = words.start("one");
    words.send(20);
    words.wait_for_counts(20, 1);
    let denied = ["--deny-principal", "User:ANONYMOUS", "--operation", "Write", "--force"];
    cluster.tool(ACLS, &[&["--add", "--topic", words.output()][..], &denied].concat());
    words.send(20);
    let failure = instance.failure();
    assert!(failure.contains(words.output()), "{failure}");
    assert!(failure.to_lowercase().contains("authoriz"), "{failure}");
    // Given back, the instance goes on where it was.
    cluster.tool(ACLS, &[&["--remove", "--topic", words.output()][..], &denied].concat());
    let again = words.start("one");
    words.wait_for_counts(20, 2);
    again.stop();
}
