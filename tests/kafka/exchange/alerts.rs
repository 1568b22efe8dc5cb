//! Alerts fire for the faults that they are there for, and resolve once those are over: real faults,
//! seen by a real Prometheus. Minutes of the rules are seconds here.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tempfile::TempDir;
use tidemill::config::Config;
use tidemill::http::Server;
use tidemill::prelude::*;
use tidemill::runtime::Streams;
use tidemill_test_support::patience::wait_for;
use tidemill_test_support::records::{Outgoing, committed, create_topic, produce, watermarks};
use tidemill_test_support::{KafkaCluster, unique};

use super::flow::generated;
use super::full_disk::{SmallDisk, not_run};
use super::market::{LIMIT, Market, Running};
use super::outcome::Outcome;
use super::prometheus::{Prometheus, free_address, repository};
use super::sender::{Load, Sender, at_present};

/// Alerts whose faults are injected, and the tests that do so.
const INJECTED: [(&str, &str); 12] = [
    ("TidemillDown", "a_real_prometheus_sees_two_instances_under_load"),
    ("TidemillNotReady", "a_real_prometheus_sees_two_instances_under_load"),
    ("TidemillDeadLetters", "a_real_prometheus_sees_two_instances_under_load"),
    ("TidemillThreadDied", "a_record_that_kills_a_thread"),
    ("TidemillLagGrowing", "a_transaction_that_hangs_in_the_input"),
    ("TidemillCommitsStopped", "a_transaction_that_hangs_in_the_input"),
    ("TidemillCommitFailures", "a_broker_that_stands_still_again_and_again"),
    ("TidemillRebalanceStorm", "an_instance_that_comes_and_goes"),
    ("TidemillRestoreStuck", "a_transaction_that_hangs_in_a_changelog"),
    ("TidemillStateDiskFull", "a_disk_that_is_full"),
    ("TidemillStateNearBound", "a_disk_that_stays_full"),
    ("TidemillFencedLoop", "a_rival_with_the_same_id"),
];

#[test]
fn every_alert_is_fired_by_its_fault() {
    let rules = fs::read_to_string(repository("dashboards/rules.yml")).expect("the rules");
    let alerts: BTreeSet<_> =
        rules.lines().filter_map(|line| line.split("- alert: ").nth(1)).collect();
    assert_eq!(alerts, INJECTED.iter().map(|(alert, _)| *alert).collect());
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

/// An instance whose HTTP is at a known address, and a Prometheus that watches it.
fn watched(
    market: &Market,
    settings: &[(&str, &str)],
    seconds_a_minute: u32,
) -> (String, Prometheus, Running) {
    let at = free_address();
    let prometheus = Prometheus::watch_at(std::slice::from_ref(&at), seconds_a_minute);
    let settings = [&[("http.listen", at.as_str())], settings].concat();
    let instance = market.start_ready("one", &settings);
    (at, prometheus, instance)
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

/// Nothing behind it can be read; what was processed last grows old, and what waits grows.
#[test]
fn a_transaction_that_hangs_in_the_input_lets_lag_grow_and_stops_commits() {
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 1);
    let (at, prometheus, mut one) = watched(&market, &[], 1);
    let old = at_present(&generated(200, 3), Duration::from_secs(180));
    Sender::to(&market).send(&old);
    market.wait_processed();
    let hanging = hanging_transaction(&market, &market.topic("orders"), "no order");
    let load = Load::default();
    std::thread::scope(|scope| {
        let end = load.end_on_drop();
        scope.spawn(|| load.send_to(&market));
        // Of a topic, not of an instance.
        prometheus.wait_alert("TidemillLagGrowing", "", true);
        prometheus.wait_alert("TidemillCommitsStopped", &at, true);
        hanging.abort_transaction(LIMIT).expect("an end of the transaction");
        prometheus.wait_alert("TidemillCommitsStopped", &at, false);
        prometheus.wait_alert("TidemillLagGrowing", "", false);
        drop(end);
    });
    one.stop();
}

/// As when the previous owner of a task died within a commit, and nobody ends what it left.
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

/// Results are not delivered in time while the broker stands still, so each commit fails and is done
/// again.
#[test]
fn a_broker_that_stands_still_again_and_again_fails_commits() {
    // Deliveries are given up at two thirds of it.
    const SETTINGS: [(&str, &str); 1] = [("transaction.timeout.ms", "6000")];
    let mut cluster = KafkaCluster::start(1);
    let market = Market::open(&cluster.bootstrap(), 1);
    let (at, prometheus, mut one) = watched(&market, &SETTINGS, 6);
    let load = Load::default();
    std::thread::scope(|scope| {
        let end = load.end_on_drop();
        scope.spawn(|| load.send_to(&market));
        prometheus.provoke("TidemillCommitFailures", &at, 12, |_| {
            cluster.pause(1);
            std::thread::sleep(Duration::from_secs(7));
            cluster.resume(1);
            std::thread::sleep(Duration::from_secs(3));
        });
        prometheus.wait_alert("TidemillCommitFailures", &at, false);
        drop(end);
    });
    market.wait_processed();
    one.stop();
}

/// Another process takes the producers' ids over, one after the other. It does so between two
/// transactions: one that is open is ended for it, again and again.
#[test]
fn a_rival_with_the_same_id_fences_again_and_again() {
    const THREADS: usize = 4;
    // A thread that is fenced eight times within a minute gives up.
    const TURN: Duration = Duration::from_millis(3_500);
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 4);
    let (at, prometheus, mut one) =
        watched(&market, &[("instance.id", "one"), ("threads", "4")], 3);
    const TURNS: usize = 30;
    let (sender, orders) = (Sender::to(&market), generated(TURNS * 200, 7));
    prometheus.provoke("TidemillFencedLoop", &at, TURNS, |turn| {
        let id = format!("{}-one-{}", market.application(), turn % THREADS);
        let rival: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", market.bootstrap())
            .set("transactional.id", id)
            .create()
            .expect("a producer");
        rival.init_transactions(LIMIT).expect("a coordinator");
        sender.send(&orders[turn * 200..][..200]);
        std::thread::sleep(TURN);
    });
    prometheus.wait_alert("TidemillFencedLoop", &at, false);
    market.wait_processed();
    one.stop();
}

#[test]
fn an_instance_that_comes_and_goes_keeps_the_group_from_settling() {
    // The group learns with a member's heartbeat that it is to rebalance: once in 3 seconds by default.
    const SETTINGS: [(&str, &str); 1] = [("heartbeat.interval.ms", "1000")];
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 4);
    let (at, prometheus, mut one) = watched(&market, &SETTINGS, 6);
    prometheus.provoke("TidemillRebalanceStorm", &at, 150, |_| {
        let mut guest = market.start_ready("guest", &SETTINGS);
        wait_for("tasks of the guest", LIMIT, || (!guest.running_tasks().is_empty()).then_some(()));
        guest.stop();
    });
    prometheus.wait_alert("TidemillRebalanceStorm", &at, false);
    one.stop();
}

#[test]
fn a_disk_that_is_full_is_told_of_and_so_is_that_it_has_room_again() {
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 1);
    let Some(disk) = SmallDisk::mount(&market.state("one"), 32) else {
        not_run("the alert of a full disk: this user may not mount a small one");
        return;
    };
    let (at, prometheus, mut one) = watched(&market, &[], 1);
    disk.fill();
    prometheus.wait_alert("TidemillStateDiskFull", &at, true);
    disk.make_room();
    prometheus.wait_alert("TidemillStateDiskFull", &at, false);
    one.stop();
}

/// Until no more fits into memory; then the task waits for room on the disk, and fetches no more.
#[test]
fn a_disk_that_stays_full_holds_its_tasks_up_and_loses_nothing() {
    const SETTINGS: [(&str, &str); 3] = [
        ("state.memory.bytes", "8388608"),
        ("state.flush.interval.ms", "200"),
        ("fetch.memory.bytes", "1048576"),
    ];
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 1);
    let Some(disk) = SmallDisk::mount(&market.state("one"), 32) else {
        not_run("the alert of a state near its bound: this user may not mount a small disk");
        return;
    };
    let (at, prometheus, mut one) = watched(&market, &SETTINGS, 1);
    const TURNS: usize = 50;
    const TURN: usize = 4_000;
    let flow = generated(TURNS * TURN, 9);
    let sender = Sender::to(&market);
    let mut sent = 0;
    // RocksDB gives files up, and so makes room, until it cannot write new ones.
    prometheus.provoke("TidemillStateNearBound", &at, TURNS, |_| {
        disk.fill();
        sender.send(&flow[sent..][..TURN]);
        sent += TURN;
        std::thread::sleep(Duration::from_secs(1));
    });
    // More than it has room for, certainly.
    sender.send(&flow[sent..]);

    // It stands, and holds no more than it may.
    disk.fill();
    let orders_by_asset = format!("{}-orders-by-asset-repartition", market.application());
    let position = || committed(market.bootstrap(), market.application(), &orders_by_asset);
    let full = wait_for("a task that stands still", LIMIT, || {
        let before = position();
        std::thread::sleep(Duration::from_secs(2));
        (position() == before).then_some(before)
    });
    let end = watermarks(market.bootstrap(), &orders_by_asset)[0].1;
    println!("stands at {full:?} of {end}");
    // Dozens of orders travel in each of these records.
    assert!(full[0] < Some(end - 20), "nothing is left to do at {full:?} of {end}");
    // 2 MiB may wait, and what one transaction changed besides.
    let query = |query| prometheus.query(query);
    assert_eq!(query("tidemill_write_set_bytes > 0"), 1);
    assert_eq!(query("tidemill_write_set_bytes > 4e6"), 0);

    disk.make_room();
    market.wait_processed();
    prometheus.wait_alert("TidemillStateNearBound", &at, false);
    one.stop();
    Outcome::of(&market).assert_same(&Outcome::replayed(&market, &flow));
}

/// A program that runs on after its instance has ended, as `tidemill run` does not.
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
