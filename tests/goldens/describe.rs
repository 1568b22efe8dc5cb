//! Names of nodes, stores and topics: the description of a topology beside Kafka Streams' own.

/// What differs in one file.
pub fn check(_: &str) -> Vec<String> {
    vec!["unknown topology".to_owned()]
}
