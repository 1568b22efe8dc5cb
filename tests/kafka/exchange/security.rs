//! Brokers that ask for TLS and a password, and secrets that nobody gets to see.

use std::fs;

use tidemill_test_support::records::produce_lines;
use tidemill_test_support::security::{PASSWORD, USER};
use tidemill_test_support::{KafkaCluster, Tidemill};

use super::market::{LIMIT, Market};
use super::outcome::Outcome;
use super::two_orders::{TWO_ORDERS, assert_is_their_trade};

/// What an instance is told to get in, its password in a file.
fn way_in(
    cluster: &KafkaCluster,
    market: &Market,
    mechanism: &str,
    password: &str,
) -> Vec<(&'static str, String)> {
    let file = market.folder().join(format!("password-of-{mechanism}"));
    fs::write(&file, format!("{password}\n")).expect("a file in a folder of our own");
    let user = market.folder().join("user");
    fs::write(&user, USER).expect("a file in a folder of our own");
    let secured = cluster.secured();
    vec![
        ("bootstrap.servers", secured.bootstrap.clone()),
        ("kafka.security.protocol", "SASL_SSL".to_owned()),
        ("kafka.sasl.mechanism", mechanism.to_owned()),
        ("kafka.sasl.username", format!("@file:{}", user.display())),
        ("kafka.sasl.password", format!("@file:{}", file.display())),
        ("kafka.ssl.ca.location", secured.authority.display().to_string()),
    ]
}

fn borrowed<'s>(settings: &'s [(&'static str, String)]) -> Vec<(&'static str, &'s str)> {
    settings.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

#[test]
fn brokers_that_ask_for_tls_and_a_password_are_served_and_no_secret_is_shown() {
    let cluster = KafkaCluster::start_secured();
    for mechanism in ["PLAIN", "SCRAM-SHA-512"] {
        let market = Market::open(&cluster.bootstrap(), 1);
        let settings = way_in(&cluster, &market, mechanism, PASSWORD);
        let mut instance = market.start_ready("one", &borrowed(&settings));
        produce_lines(market.bootstrap(), &market.topic("orders"), TWO_ORDERS);
        market.wait_processed();
        let outcome = Outcome::of(&market);
        assert_eq!(outcome.trade_count(), 1, "{mechanism}: {outcome:?}");
        assert_is_their_trade(&outcome.trades["asset1"][0]);

        let mut shown = instance.process.log();
        for path in ["/metrics", "/tasks", "/topology", "/metadata"] {
            shown.push_str(&instance.get(path).1);
        }
        instance.stop();
        let mut check = market.command("one", &borrowed(&settings));
        let check = check.args(["config", "check"]).output().expect("the program");
        assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
        let check = String::from_utf8_lossy(&check.stdout).into_owned();
        assert!(check.contains("@file:"), "says where the secret is kept: {check}");
        shown.push_str(&check);
        assert!(!shown.contains(PASSWORD), "{shown}");
    }
}

#[test]
fn a_wrong_password_is_named_and_not_shown() {
    const WRONG: &str = "battery-staple-wrong";
    let cluster = KafkaCluster::start_secured();
    let market = Market::open(&cluster.bootstrap(), 1);
    let settings = way_in(&cluster, &market, "PLAIN", WRONG);
    let mut command = market.command("one", &borrowed(&settings));
    let mut instance = Tidemill::spawn(command.arg("run"));
    let said = instance.wait_for_log("uthentication", LIMIT);
    assert!(said.contains(&cluster.secured().bootstrap), "names the address: {said}");
    assert!(!instance.log().contains(WRONG));
}
