//! Alerts fire for the faults that they are there for, and resolve once those are over: real faults,
//! seen by a real Prometheus. Minutes of the rules are seconds here.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;

use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tempfile::TempDir;
use tidemill::config::Config;
use tidemill::http::Server;
use tidemill::prelude::*;
use tidemill::runtime::Streams;
use tidemill_test_support::records::{Outgoing, create_topic, produce};
use tidemill_test_support::{KafkaCluster, unique};

use super::flow::generated;
use super::market::{LIMIT, Market};
use super::prometheus::{Prometheus, free_address, repository};
use super::sender::Sender;

/// Alerts whose faults are injected, and the tests that do so.
const INJECTED: [(&str, &str); 5] = [
    ("TidemillDown", "a_real_prometheus_sees_two_instances_under_load"),
    ("TidemillNotReady", "a_real_prometheus_sees_two_instances_under_load"),
    ("TidemillDeadLetters", "a_real_prometheus_sees_two_instances_under_load"),
    ("TidemillThreadDied", "a_record_that_kills_a_thread"),
    ("TidemillRestoreStuck", "a_transaction_that_hangs_in_a_changelog"),
];
/// Alerts that the unit tests of the rules alone know.
const WITH_MADE_UP_SERIES: [&str; 7] = [
    "TidemillLagGrowing",
    "TidemillCommitsStopped",
    "TidemillCommitFailures",
    "TidemillRebalanceStorm",
    "TidemillStateNearBound",
    "TidemillStateDiskFull",
    "TidemillFencedLoop",
];

#[test]
fn every_alert_is_fired_by_its_fault_or_by_made_up_series() {
    let rules = fs::read_to_string(repository("dashboards/rules.yml")).expect("the rules");
    let alerts: BTreeSet<_> =
        rules.lines().filter_map(|line| line.split("- alert: ").nth(1)).collect();
    let known = INJECTED.iter().map(|(alert, _)| *alert).chain(WITH_MADE_UP_SERIES);
    assert_eq!(alerts, known.collect());
    let tests = ["alerts", "monitoring"].map(|file| {
        fs::read_to_string(repository(&format!("tests/kafka/exchange/{file}.rs"))).expect("tests")
    });
    for (alert, test) in INJECTED {
        let is_there = |text: &String| {
            let body = text.split(&format!("fn {test}")).nth(1);
            let body = body.and_then(|rest| rest.split("\n#[test]").next());
            body.is_some_and(|body| body.contains(&format!("\"{alert}\"")))
        };
        assert!(tests.iter().any(is_there), "{test} says nothing of {alert}");
    }
}

/// A producer with an open transaction, in which a record lies at the end of a partition.
fn hanging_transaction(market: &Market, topic: &str, value: &str) -> BaseProducer {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", market.bootstrap())
        .set("transactional.id", unique("hanging"))
        .set("transaction.timeout.ms", "600000")
        .create()
        .expect("a producer");
    producer.init_transactions(LIMIT).expect("a coordinator");
    producer.begin_transaction().expect("no open transaction");
    producer
        .send(BaseRecord::to(topic).partition(0).key("key").payload(value))
        .expect("room for a record");
    producer.flush(LIMIT).expect("the record delivered");
    producer
}

#[test]
fn a_transaction_that_hangs_in_a_changelog_holds_a_restore_up() {
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 1);
    let mut before = market.start_ready("before", &[]);
    Sender::to(&market).send(&generated(500, 4));
    market.wait_processed();
    before.stop();
    let changelog = format!("{}-positions-changelog", market.application());
    let hanging = hanging_transaction(&market, &changelog, "no position");
    let at = free_address();
    let prometheus = Prometheus::watch(std::slice::from_ref(&at));
    let mut one = market.start("one", &[("http.listen", &at)]);
    prometheus.wait_alert("TidemillRestoreStuck", &at, true);
    hanging.abort_transaction(LIMIT).expect("an end of the transaction");
    one.wait_ready();
    prometheus.wait_alert("TidemillRestoreStuck", &at, false);
    one.stop();
}

#[test]
fn a_record_that_kills_a_thread_is_told_of() {
    let bootstrap = KafkaCluster::shared().bootstrap();
    let name = unique("fragile");
    create_topic(&bootstrap, &name, 1, &[]);
    let folder = TempDir::with_prefix("tidemill-fragile-").expect("a temporary folder");
    let builder = StreamsBuilder::new();
    builder
        .stream(&name, Consumed::with(Utf8, I64))
        .group_by_key(Grouped::with(Utf8, I64))
        .count(Materialized::named("counts", I64));
    let topology = builder.build().expect("a topology");
    let config = |handler: &str| {
        let text = format!(
            "application.id = '{name}'\nbootstrap.servers = '{bootstrap}'\nstate.dir = '{}'\n\
             auto.offset.reset = 'earliest'\ndeserialization.exception.handler = '{handler}'\n",
            folder.path().display()
        );
        Config::from_toml("fragile.toml", &text).expect("a configuration")
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let at = free_address();
    let prometheus = Prometheus::watch(std::slice::from_ref(&at));
    let start = |handler: &str| {
        let config = config(handler);
        let streams = Streams::start(topology.clone(), &config).expect("an instance");
        let address: SocketAddr = at.parse().expect("an address");
        let introspect = streams.handle().introspect();
        let server = Server::start(&config.http, address, introspect, Vec::new());
        (streams, runtime.block_on(server).expect("a free port"))
    };
    let (streams, server) = start("fail");
    produce(&bootstrap, &name, [Outgoing::keyed("key", "no number of eight bytes")]);
    let error = streams.join().expect_err("the end of its thread");
    println!("the instance ended: {error}");
    prometheus.wait_alert("TidemillThreadDied", &at, true);
    runtime.block_on(server.stop());
    let (streams, server) = start("continue");
    prometheus.wait_alert("TidemillThreadDied", &at, false);
    streams.handle().stop();
    streams.join().expect("an end in peace");
    runtime.block_on(server.stop());
}
