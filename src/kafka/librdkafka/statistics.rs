//! librdkafka's statistics: a JSON document every few seconds, of which a few numbers are kept.

use std::collections::HashMap;

use serde::Deserialize;

use super::super::statistics::ClientStatistics;

/// How often a client writes its statistics, in milliseconds; a property's value.
pub(super) const INTERVAL_MS: &str = "5000";

/// What is read of the document; its other fields are skipped.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Document {
    tx: u64,
    tx_bytes: u64,
    rx: u64,
    rx_bytes: u64,
    msg_cnt: u64,
    msg_size: u64,
    brokers: HashMap<String, Broker>,
    topics: HashMap<String, Topic>,
    cgrp: Option<Group>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Broker {
    nodeid: i64,
    state: String,
    txerrs: u64,
    rxerrs: u64,
    txretries: u64,
    req_timeouts: u64,
    connects: u64,
    disconnects: u64,
    /// Microseconds.
    rtt: Window,
    /// Milliseconds.
    throttle: Window,
}

/// Values within the last interval.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Window {
    avg: f64,
    sum: f64,
    cnt: f64,
    p99: f64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Topic {
    batchsize: Window,
    batchcnt: Window,
    partitions: HashMap<String, Partition>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Partition {
    fetchq_cnt: u64,
    fetchq_size: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Group {
    rebalance_cnt: u64,
}

/// The numbers of a document; `None` for one that is no JSON of the form expected.
pub(super) fn read(json: &[u8]) -> Option<ClientStatistics> {
    let document: Document = serde_json::from_slice(json).ok()?;
    let brokers = || document.brokers.values();
    let total = |value: fn(&Broker) -> u64| brokers().map(value).sum();
    let most = |value: fn(&Broker) -> f64| brokers().map(value).fold(0.0, f64::max);
    let average = |window: fn(&Topic) -> &Window| {
        let windows = || document.topics.values().map(window);
        let count: f64 = windows().map(|window| window.cnt).sum();
        let sum: f64 = windows().map(|window| window.sum).sum();
        if count > 0.0 { sum / count } else { 0.0 }
    };
    let partitions = || document.topics.values().flat_map(|topic| topic.partitions.values());
    Some(ClientStatistics {
        requests: document.tx,
        request_bytes: document.tx_bytes,
        responses: document.rx,
        response_bytes: document.rx_bytes,
        errors: total(|broker| broker.txerrs + broker.rxerrs),
        retries: total(|broker| broker.txretries),
        timeouts: total(|broker| broker.req_timeouts),
        connects: total(|broker| broker.connects),
        disconnects: total(|broker| broker.disconnects),
        // Addresses to start from, and the coordinator's, are connections beside the brokers'.
        connected_brokers: total(|broker| u64::from(broker.nodeid >= 0 && broker.state == "UP")),
        round_trip_average_seconds: most(|broker| broker.rtt.avg) / 1e6,
        round_trip_p99_seconds: most(|broker| broker.rtt.p99) / 1e6,
        throttle_average_seconds: most(|broker| broker.throttle.avg) / 1e3,
        queued_records: document.msg_cnt + partitions().map(|one| one.fetchq_cnt).sum::<u64>(),
        queued_bytes: document.msg_size + partitions().map(|one| one.fetchq_size).sum::<u64>(),
        batch_average_bytes: average(|topic| &topic.batchsize),
        batch_average_records: average(|topic| &topic.batchcnt),
        group_rebalances: document.cgrp.map_or(0, |group| group.rebalance_cnt),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_added_up_and_the_slowest_counts() {
        let json =
            br#"{"name":"x","type":"consumer","tx":12,"tx_bytes":900,"rx":11,"rx_bytes":5000,
            "msg_cnt":0,"msg_size":0,"brokers":{
              "a:1/1":{"nodeid":1,"state":"UP","txerrs":1,"rxerrs":2,"connects":3,
                "rtt":{"min":1,"avg":2000,"p99":9000,"cnt":3,"sum":6000}},
              "b:1/2":{"nodeid":2,"state":"DOWN","txretries":4,"rtt":{"avg":3000,"p99":4000}},
              "a:1/bootstrap":{"nodeid":-1,"state":"UP"}},
            "topics":{"t":{"batchsize":{"cnt":2,"sum":300},"partitions":{
              "0":{"fetchq_cnt":7,"fetchq_size":70},"-1":{}}}},
            "cgrp":{"state":"up","rebalance_cnt":5}}"#;
        let read = read(json).unwrap();
        assert_eq!((read.requests, read.errors, read.retries, read.connects), (12, 3, 4, 3));
        assert_eq!((read.connected_brokers, read.group_rebalances), (1, 5));
        assert_eq!((read.queued_records, read.queued_bytes), (7, 70));
        assert_eq!(read.round_trip_average_seconds, 0.003);
        assert_eq!(read.round_trip_p99_seconds, 0.009);
        assert_eq!(read.batch_average_bytes, 150.0);
    }

    #[test]
    fn what_is_no_document_is_no_statistics() {
        assert_eq!(read(b"{\"tx\":"), None);
    }
}
