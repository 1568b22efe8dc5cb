//! What people watch the exchange with: metrics, dashboards and alerts, against a real Prometheus.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value;
use tidemill_test_support::KafkaCluster;
use tidemill_test_support::process::run_to_end;
use tidemill_test_support::records::produce_lines;

use super::market::{LIMIT, Market};
use super::prometheus::{Prometheus, free_address, promtool, repository};
use super::sender::Load;

const DASHBOARDS: [&str; 4] = ["overview", "tasks", "stores", "exchange"];

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

/// What Grafana's dashboard linter asks of a query: counters are read as rates, over the interval
/// that Grafana chooses; and of a dashboard: variables for data source, job and instance that follow
/// the time range.
#[test]
fn the_dashboards_keep_the_rules_of_grafanas_linter() {
    let mut linted = 0;
    for name in DASHBOARDS {
        let text = fs::read_to_string(repository(&format!("dashboards/{name}.json")));
        let dashboard: Value = serde_json::from_str(&text.expect("a dashboard")).expect("JSON");
        let variables = dashboard["templating"]["list"].as_array().expect("variables");
        let kinds: Vec<_> = variables.iter().map(|one| [&one["name"], &one["type"]]).collect();
        let expected = [["datasource", "datasource"], ["job", "query"], ["instance", "query"]];
        assert_eq!(kinds, expected, "{name}");
        for variable in &variables[1..] {
            // Each time the range changes, and with several values or all of them.
            assert_eq!(variable["refresh"], 2, "{name}: {variable}");
            assert_eq!((&variable["multi"], &variable["includeAll"]), (&true.into(), &true.into()));
        }
        for query in queries(name).into_iter().map(|(_, query)| query) {
            if let Some(fault) = fault_of(&query) {
                panic!("{name}: {fault}: {query}");
            }
            linted += 1;
        }
    }
    println!("{linted} queries keep the rules");
}

#[test]
fn a_counter_that_is_not_read_as_a_rate_is_found() {
    assert_eq!(fault_of("sum(rate(x_total{job=\"a\"}[$__rate_interval]))"), None);
    assert_eq!(fault_of("increase(x_total{}[1h])"), None);
    assert_eq!(fault_of("sum(x_total{job=\"a\"})"), Some("a counter without a rate"));
    assert_eq!(fault_of("rate(x_total{}[5m])"), Some("a rate over an interval of its own"));
    assert_eq!(fault_of("topk(3, x_bucket{})"), Some("a counter without a rate"));
}

/// One is too many, however long ago: its total is shown.
const TOTAL: &str = "sum(tidemill_threads_failed_total{";

/// What is wrong with a query, by the rules above.
fn fault_of(query: &str) -> Option<&'static str> {
    if query.starts_with(TOTAL) {
        return None;
    }
    for kind in ["_total{", "_bucket{", "_sum{", "_count{"] {
        for (at, _) in query.match_indices(kind) {
            let name_at = query[..at]
                .rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .map_or(0, |before| before + 1);
            let before = &query[..name_at];
            if !["rate(", "irate(", "increase("].iter().any(|of| before.ends_with(of)) {
                return Some("a counter without a rate");
            }
            let range = query[at..].split_once("}[").and_then(|(_, rest)| rest.split_once(']'));
            let range = range.map_or("", |(range, _)| range);
            // A rate over an hour of what comes rarely says so in its panel.
            if before.ends_with("rate(") && !["$__rate_interval", "1h"].contains(&range) {
                return Some("a rate over an interval of its own");
            }
        }
    }
    None
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

    let load = Load::default();
    std::thread::scope(|scope| {
        // Ends the load also when an assertion below fails.
        let _end = load.end_on_drop();
        scope.spawn(|| load.send_to(&market));
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
    let mut queries: Vec<_> = DASHBOARDS.into_iter().flat_map(queries).collect();
    for (_, query) in &mut queries {
        *query = query
            .replace("$job", ".*")
            .replace("$instance", ".*")
            .replace("$__rate_interval", "5s");
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

/// The queries of a dashboard, each with the title of its panel.
fn queries(dashboard: &str) -> Vec<(String, String)> {
    let mut queries = Vec::new();
    for panel in panels(dashboard) {
        let title = panel["title"].as_str().expect("a title");
        for target in panel["targets"].as_array().expect("queries") {
            let query = target["expr"].as_str().expect("a query");
            queries.push((title.to_owned(), query.to_owned()));
        }
    }
    queries
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
