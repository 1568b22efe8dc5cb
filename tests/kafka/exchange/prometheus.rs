//! A real Prometheus that watches instances of a test, with the rules of this repository.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tidemill_test_support::Tidemill;
use tidemill_test_support::broker::free_ports;
use tidemill_test_support::patience::wait_up_to;
use tidemill_test_support::process::{Finished, http_get, run_to_end};

use super::market::LIMIT;

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// An address of this machine at which nothing listens, another one each time.
pub fn free_address() -> String {
    format!("127.0.0.1:{}", free_ports(1)[0])
}

/// Runs `promtool` to its end.
pub fn promtool(arguments: &[&str], input: &str) -> Finished {
    let mut command = Command::new("promtool");
    run_to_end(command.args(arguments), input.as_bytes(), LIMIT)
}

/// A running Prometheus that scrapes each second.
pub struct Prometheus {
    address: String,
    _process: Tidemill,
    _folder: TempDir,
}

impl Prometheus {
    /// Watches `targets` as the job `tidemill`. A minute of the rules is a second here.
    pub fn watch(targets: &[String]) -> Self {
        Self::watch_at(targets, 1)
    }

    /// As [`watch`](Self::watch); a minute of the rules is so many seconds here.
    pub fn watch_at(targets: &[String], seconds_a_minute: u32) -> Self {
        let folder = TempDir::with_prefix("tidemill-prometheus-").expect("a temporary folder");
        let rules = fs::read_to_string(repository("dashboards/rules.yml")).expect("the rules");
        fs::write(folder.path().join("rules.yml"), hastened(&rules, seconds_a_minute))
            .expect("a file of our own");
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: [rules.yml]\n\
             scrape_configs:\n- job_name: tidemill\n  static_configs: [{{targets: {targets:?}}}]\n"
        );
        let path = folder.path().join("prometheus.yml");
        fs::write(&path, config).expect("a file of our own");
        let address = free_address();
        let process = Tidemill::spawn(
            Command::new("prometheus")
                .arg(format!("--config.file={}", path.display()))
                .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
                .arg(format!("--web.listen-address={address}")),
        );
        let mut prometheus = Self { address, _process: process, _folder: folder };
        let address = prometheus.address.clone();
        prometheus._process.wait_for_http(&address, "/-/ready", 200, LIMIT);
        prometheus
    }

    fn get(&self, path: &str) -> Value {
        let (status, body) = http_get(&self.address, path)
            .unwrap_or_else(|error| panic!("GET {path} of Prometheus: {error}"));
        assert_eq!(status, 200, "GET {path} of Prometheus: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    /// How many series a query gives now that have a number for a value.
    pub fn query(&self, query: &str) -> usize {
        let answer = self.get(&format!("/api/v1/query?query={}", encoded(query)));
        let is_number = |series: &&Value| series["value"][1] != "NaN";
        answer["data"]["result"]
            .as_array()
            .map_or(0, |found| found.iter().filter(is_number).count())
    }

    /// Alerts that fire, with the instance they name.
    pub fn firing(&self) -> BTreeSet<(String, String)> {
        let answer = self.get("/api/v1/alerts");
        let alerts = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        let text = |alert: &Value, label: &str| {
            alert["labels"][label].as_str().unwrap_or_default().to_owned()
        };
        firing.map(|alert| (text(alert, "alertname"), text(alert, "instance"))).collect()
    }

    /// Waits until an alert fires for an instance, or no longer does.
    pub fn wait_alert(&self, name: &str, instance: &str, fires: bool) {
        let alert = (name.to_owned(), instance.to_owned());
        let seen = wait_up_to(LIMIT, || (self.firing().contains(&alert) == fires).then_some(()));
        assert!(
            seen.is_some(),
            "{name} of {instance} does not come to fire: {fires}\n{}",
            self.about(name)
        );
        println!("{name} of {instance}: {}", if fires { "fires" } else { "resolved" });
    }

    /// Does something again and again until an alert fires for an instance, so many times at most;
    /// it is told how often it did so.
    pub fn provoke(&self, name: &str, instance: &str, times: usize, mut fault: impl FnMut(usize)) {
        let alert = (name.to_owned(), instance.to_owned());
        for done in 0..times {
            if self.firing().contains(&alert) {
                println!("{name} of {instance}: fires after {done} times");
                return;
            }
            fault(done);
        }
        panic!("{name} of {instance} does not fire after {times} times\n{}", self.about(name));
    }

    /// The rules, as they are evaluated.
    fn loaded_rules(&self) -> Vec<Value> {
        let answer = self.get("/api/v1/rules");
        let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
        groups
            .iter()
            .flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default())
            .collect()
    }

    /// What an alert asks for, and what each metric in it is now.
    pub fn about(&self, alert: &str) -> String {
        let rule = self.loaded_rules().into_iter().find(|rule| rule["name"] == alert);
        let query = rule.as_ref().and_then(|rule| rule["query"].as_str()).unwrap_or_default();
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_:".contains(c);
        let names: BTreeSet<&str> =
            query.split(|c| !is_name(c)).filter(|word| word.contains("tidemill_")).collect();
        let values = names.into_iter().map(|name| {
            let [now, grown] = [name.to_owned(), format!("delta({name}[30s])")].map(|query| {
                let answer = self.get(&format!("/api/v1/query?query={}", encoded(&query)));
                answer["data"]["result"].to_string()
            });
            format!("{name}: {now}\nin 30 s: {grown}")
        });
        format!("{query}\n{}", values.collect::<Vec<_>>().join("\n"))
    }

    /// Waits until every query gives data but those that may be empty; gives the empty ones.
    pub fn wait_for_data<'q>(
        &self,
        queries: &'q [(String, String)],
        may_be_empty: &BTreeSet<String>,
    ) -> Vec<&'q (String, String)> {
        let mut empty: Vec<_> = queries.iter().collect();
        let end = std::time::Instant::now() + LIMIT;
        loop {
            empty.retain(|(_, query)| self.query(query) == 0);
            let missing = || empty.iter().filter(|(panel, _)| !may_be_empty.contains(panel));
            if missing().next().is_none() {
                return empty;
            }
            let list: Vec<_> = missing().collect();
            assert!(std::time::Instant::now() < end, "queries without data: {list:#?}");
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// The rules that cannot be evaluated, with the error, and the number of all.
    pub fn rules(&self) -> (Vec<String>, usize) {
        let rules = self.loaded_rules();
        let bad = rules.iter().filter(|rule| rule["health"] != "ok").map(Value::to_string);
        (bad.collect(), rules.len())
    }
}

/// Rules each of whose minutes is so many seconds, evaluated each second: a test has no time for
/// theirs.
fn hastened(rules: &str, seconds_a_minute: u32) -> String {
    let rules = rules.replace("interval: 30s", "interval: 1s");
    let mut quick = String::with_capacity(rules.len());
    let mut rest = &*rules;
    while let Some(at) = rest.find('m') {
        let (before, after) = rest.split_at(at);
        let number = before.trim_end_matches(|c: char| c.is_ascii_digit());
        // A duration: digits after a bracket or a space, and nothing of a word behind the m.
        let is_duration = number.len() < before.len()
            && number.ends_with(['[', ' '])
            && !after[1..].starts_with(|c: char| c.is_ascii_alphanumeric());
        match before[number.len()..].parse::<u32>() {
            Ok(minutes) if is_duration => {
                quick.push_str(&format!("{number}{}s", minutes * seconds_a_minute));
            }
            _ => quick.push_str(&format!("{before}m")),
        }
        rest = &after[1..];
    }
    quick.push_str(rest);
    quick
}

/// Text as a URL takes it.
pub fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
