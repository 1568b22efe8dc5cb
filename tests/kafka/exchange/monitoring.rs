//! What people watch the exchange with: metrics, dashboards and alerts, against a real Prometheus.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tidemill_test_support::KafkaCluster;
use tidemill_test_support::process::run_to_end;
use tidemill_test_support::records::produce_lines;

use super::flow::generated;
use super::market::{LIMIT, Market};
use super::prometheus::{Prometheus, free_address, promtool, repository};
use super::sender::Sender;

const DASHBOARDS: [&str; 4] = ["overview", "tasks", "stores", "exchange"];
/// Orders a second, about.
const RATE: usize = 2_000;

#[test]
fn the_rules_pass_their_unit_tests() {
    let rules = repository("dashboards/rules.yml").display().to_string();
    let tests = repository("dashboards/rules_test.yml").display().to_string();
    let config = repository("dashboards/prometheus.yml").display().to_string();
    for arguments in
        [["check", "rules", &rules], ["check", "config", &config], ["test", "rules", &tests]]
    {
        let finished = promtool(&arguments, "");
        println!("promtool {}: {}{}", arguments[1], finished.stdout, finished.stderr);
        assert!(finished.status.success());
    }
}

#[test]
fn every_alert_has_a_section_in_the_runbook() {
    let rules = fs::read_to_string(repository("dashboards/rules.yml")).expect("the rules");
    let runbook = fs::read_to_string(repository("docs/runbook.md")).expect("the runbook");
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.split("- alert: ").nth(1)).collect();
    assert!(alerts.len() >= 8, "{alerts:?}");
    for alert in alerts {
        assert!(runbook.contains(&format!("\n## {alert}\n")), "{alert} is not in the runbook");
        let link = format!("runbook_url: docs/runbook.md#{}\n", alert.to_lowercase());
        assert!(rules.contains(&link), "{alert} does not name its section");
    }
}

#[test]
fn the_dashboards_are_what_grafanas_schema_makes_of_their_sources() {
    let mut command = Command::new(repository("scripts/dashboards.sh"));
    let finished = run_to_end(&mut command, b"", 4 * LIMIT);
    println!("{}{}", finished.stdout, finished.stderr);
    assert!(finished.status.success());
}

#[test]
fn each_panel_says_what_it_shows_and_is_templated() {
    for dashboard in DASHBOARDS {
        let panels = panels(dashboard);
        assert!(panels.len() >= 9, "{dashboard}");
        for panel in panels {
            let title = panel["title"].as_str().unwrap_or_default();
            let text = |path: &str| panel.pointer(path).and_then(Value::as_str).unwrap_or_default();
            assert!(text("/description").len() > 10, "{dashboard}: {title}");
            assert!(!text("/fieldConfig/defaults/unit").is_empty(), "{dashboard}: {title}");
            assert_eq!(text("/datasource/uid"), "${datasource}", "{dashboard}: {title}");
            for target in panel["targets"].as_array().expect("queries") {
                let query = target["expr"].as_str().expect("a query");
                let selectors = query.matches('{').count();
                let templated = query.matches("{job=~\"$job\",instance=~\"$instance\"").count();
                assert!(selectors > 0 && selectors == templated, "{dashboard}: {title}: {query}");
            }
        }
    }
}

#[test]
fn a_real_prometheus_sees_two_instances_under_load_and_its_alerts_fire_and_resolve() {
    let market = Market::open(&KafkaCluster::shared().bootstrap(), 4);
    let [one_at, two_at] = [free_address(), free_address()];
    let prometheus = Prometheus::watch(&[one_at.clone(), two_at.clone()]);
    let start = |name: &str, at: &str, more: &[(&str, &str)]| {
        market.start(name, &[&[("http.listen", at)], more].concat())
    };
    // No broker where the second one looks: it answers, and is not ready.
    let nowhere = free_address();
    let mut two = start("two", &two_at, &[("bootstrap.servers", &nowhere)]);
    let mut one = start("one", &one_at, &[]);
    one.wait_ready();
    prometheus.wait_alert("TidemillNotReady", &two_at, true);
    two.stop();
    two = start("two", &two_at, &[]);
    two.wait_ready();
    prometheus.wait_alert("TidemillNotReady", &two_at, false);

    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Ends the load also when an assertion below fails.
        let _end = End(&stop);
        scope.spawn(|| feed(&market, &stop));
        every_query_has_data(&prometheus);
        for instance in [&mut one, &mut two] {
            let (status, text) = instance.get("/metrics");
            assert_eq!(status, 200);
            let lint = promtool(&["check", "metrics"], &text);
            assert!(lint.status.success() && lint.stderr.is_empty(), "{}", lint.stderr);
        }
        println!("promtool check metrics: clean");

        let dead_letters = || {
            let firing = prometheus.firing();
            let is = |(alert, _): &(String, String)| alert == "TidemillDeadLetters";
            firing.into_iter().find(is).map(|(_, instance)| instance)
        };
        produce_lines(market.bootstrap(), &market.topic("orders"), ["no order", "nor this"]);
        let instance = tidemill_test_support::patience::wait_for(
            "TidemillDeadLetters to fire",
            LIMIT,
            dead_letters,
        );
        prometheus.wait_alert("TidemillDeadLetters", &instance, true);
        prometheus.wait_alert("TidemillDeadLetters", &instance, false);

        one.process.kill();
        prometheus.wait_alert("TidemillDown", &one_at, true);
        one = start("one", &one_at, &[]);
        one.wait_ready();
        prometheus.wait_alert("TidemillDown", &one_at, false);
    });
    one.stop();
    two.stop();
}

/// Every query of every panel, and every rule.
fn every_query_has_data(prometheus: &Prometheus) {
    let mut queries = Vec::new();
    for dashboard in DASHBOARDS {
        for panel in panels(dashboard) {
            let title = panel["title"].as_str().expect("a title");
            for target in panel["targets"].as_array().expect("queries") {
                let query = target["expr"].as_str().expect("a query");
                let query = query
                    .replace("$job", ".*")
                    .replace("$instance", ".*")
                    .replace("$__rate_interval", "5s");
                queries.push((title.to_owned(), query));
            }
        }
    }
    let rules = fs::read_to_string(repository("dashboards/rules.yml")).expect("the rules");
    for record in rules.lines().filter_map(|line| line.split("- record: ").nth(1)) {
        queries.push(("recording rule".to_owned(), record.to_owned()));
    }
    let empty = prometheus.wait_for_data(&queries, &may_be_empty());
    println!("{} queries, {} of them empty as documented:", queries.len(), empty.len());
    for (panel, query) in empty {
        println!("  {panel}: {query}");
    }
    let (bad, all) = prometheus.rules();
    assert!(bad.is_empty() && all >= 15, "of {all} rules: {bad:#?}");
    println!("{all} rules, all evaluated");
}

/// The panels that the dashboards' page says may be empty.
fn may_be_empty() -> BTreeSet<String> {
    let page = fs::read_to_string(repository("dashboards/README.md")).expect("the page");
    let (_, table) = page.split_once("| panel | empty until |").expect("the table of such panels");
    let cells = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    cells.map(str::to_owned).collect()
}

fn panels(dashboard: &str) -> Vec<Value> {
    let path = repository(&format!("dashboards/{dashboard}.json"));
    let text = fs::read_to_string(&path).expect("a dashboard");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().cloned().unwrap_or_default();
    panels.into_iter().filter(|panel| panel["type"] != "row").collect()
}

/// Sends orders of this moment until told to stop.
fn feed(market: &Market, stop: &AtomicBool) {
    let sender = Sender::to(market);
    let tick = Duration::from_millis(100);
    let flow = generated(200_000, 7);
    for orders in flow.chunks(RATE / 10) {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
        let mut orders = orders.to_vec();
        for order in &mut orders {
            order.timestamp = now.as_millis() as i64;
        }
        sender.send(&orders);
        std::thread::sleep(tick);
    }
}

/// Tells the load to end when it is dropped.
struct End<'s>(&'s AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
