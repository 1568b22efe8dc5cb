//! [`Watch`]: an instance as one JSON document, with rates; what `/events` sends and the page shows.
//!
//! ```json
//! {
//!   "instance": {"application_id": "exchange", "instance_id": "one", "state": "running", ...},
//!   "time_ms": 1750000000000, "rate": 1980, "lag": 12,
//!   "tasks": {"1_0": {"state": "running", "thread": "stream-1", "rate": 495, "lag": 3,
//!                     "stream_time_ms": 1750000000000, "restored": 120, "remaining": 0}},
//!   "nodes": {"identify": 1980, "judge": 1980},
//!   "latency": {"end_to_end": {"p50": 0.043, "p99": 0.12}, "commit": {...}},
//!   "dead_letters": {"deserialization": 3}
//! }
//! ```
//!
//! Rates are in records a second over the time since the last look, rounded to three digits, and
//! absent at the first look. Nothing is null, so that a merge patch can tell what has changed.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::status::{Distribution, InstanceStatus, Introspect, TaskStatus, Totals};

/// What was seen at the last look, from which the next one has its rates.
#[derive(Default)]
pub struct Watch {
    last: Option<Look>,
}

struct Look {
    at: Instant,
    processed: BTreeMap<String, u64>,
    totals: Totals,
}

impl Watch {
    /// Looks at the instance.
    pub fn look(&mut self, instance: &dyn Introspect) -> Value {
        self.look_at(&instance.status(), instance.totals(), Instant::now())
    }

    /// Forgets the last look: rates over the time since then would say nothing.
    pub fn forget(&mut self) {
        self.last = None;
    }

    fn look_at(&mut self, status: &InstanceStatus, totals: Totals, at: Instant) -> Value {
        let processed: BTreeMap<String, u64> =
            status.tasks.iter().map(|task| (task.id.clone(), task.processed)).collect();
        let before = self.last.take();
        let seconds = before.as_ref().map_or(0.0, |last| (at - last.at).as_secs_f64());
        let rates = |now: &BTreeMap<String, u64>, last: Option<&BTreeMap<String, u64>>| {
            let last = last.filter(|_| seconds > 0.0);
            let rate = |(name, count): (&String, &u64)| {
                // A task that came back counts from zero again.
                let earlier = last?.get(name).copied().unwrap_or_default();
                let records = count.checked_sub(earlier).unwrap_or(*count);
                Some((name.clone(), records as f64 / seconds))
            };
            now.iter().filter_map(rate).collect::<BTreeMap<_, _>>()
        };
        let by_task = rates(&processed, before.as_ref().map(|last| &last.processed));
        let by_node = rates(&totals.nodes, before.as_ref().map(|last| &last.totals.nodes));
        let none = Totals::default();
        let earlier = before.as_ref().map_or(&none, |last| &last.totals);
        let mut document = json!({
            "instance": instance(status),
            "time_ms": now_ms(),
            "lag": status.tasks.iter().filter_map(lag).sum::<u64>(),
            "tasks": status
                .tasks
                .iter()
                .map(|found| (found.id.clone(), task(found, by_task.get(&found.id).copied())))
                .collect::<Map<_, _>>(),
            "nodes": by_node.iter().map(|(n, rate)| (n.clone(), rounded(*rate))).collect::<Map<_, _>>(),
            "latency": {
                "end_to_end": quantiles(&totals.age.since(&earlier.age)),
                "commit": quantiles(&totals.commit.since(&earlier.commit)),
            },
            "dead_letters": totals.dead_letters,
        });
        if before.is_some() {
            document["rate"] = rounded(by_task.values().sum());
        }
        self.last = Some(Look { at, processed, totals });
        document
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

fn instance(status: &InstanceStatus) -> Value {
    json!({
        "application_id": status.application_id,
        "instance_id": status.instance_id,
        "version": status.version,
        "started_at_ms": status.started_at_ms,
        "state": status.state,
        "ready": status.ready,
        "reason": status.reason,
        "threads": status.threads,
    })
}

fn lag(task: &TaskStatus) -> Option<u64> {
    task.partitions.iter().filter_map(|partition| partition.lag).reduce(|sum, lag| sum + lag)
}

fn task(task: &TaskStatus, rate: Option<f64>) -> Value {
    let restores = || task.stores.iter().map(|store| &store.restore);
    let mut shown = json!({
        "state": task.state,
        "thread": task.thread,
        "restored": restores().map(|restore| restore.restored).sum::<u64>(),
        "remaining": restores().map(|restore| restore.remaining).sum::<u64>(),
    });
    if let Some(lag) = lag(task) {
        shown["lag"] = lag.into();
    }
    if let Some(time) = task.stream_time_ms {
        shown["stream_time_ms"] = time.into();
    }
    if let Some(rate) = rate {
        shown["rate"] = rounded(rate);
    }
    shown
}

/// Median and 99th percentile in seconds; nothing when there is nothing to tell.
fn quantiles(distribution: &Distribution) -> Value {
    let mut shown = json!({});
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        if let Some(seconds) = distribution.quantile(share) {
            shown[name] = rounded(seconds);
        }
    }
    shown
}

/// Three digits: more would change with every look and mean nothing.
fn rounded(number: f64) -> Value {
    let text = format!("{number:.2e}");
    let number: f64 = text.parse().unwrap_or(number);
    if number >= 1.0 && number.fract() == 0.0 { json!(number as u64) } else { json!(number) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::status::{InstanceState, PartitionStatus, TaskState};

    use super::*;

    fn status(processed: u64) -> InstanceStatus {
        let partition = PartitionStatus {
            topic: "orders".into(),
            partition: 0,
            position: Some(1),
            lag: Some(7),
        };
        InstanceStatus {
            application_id: "app".into(),
            instance_id: "one".into(),
            version: "1".into(),
            started_at_ms: 0,
            state: InstanceState::Running,
            ready: true,
            reason: String::new(),
            threads: [("stream-1".into(), "running".into())].into(),
            standbys: Vec::new(),
            tasks: vec![TaskStatus {
                id: "0_0".into(),
                state: TaskState::Running,
                thread: "stream-1".into(),
                partitions: vec![partition],
                stores: Vec::new(),
                stream_time_ms: None,
                processed,
            }],
        }
    }

    fn totals(records: u64) -> Totals {
        Totals { nodes: [("judge".to_owned(), records)].into(), ..Totals::default() }
    }

    #[test]
    fn rates_are_over_the_time_since_the_last_look() {
        let mut watch = Watch::default();
        let start = Instant::now();
        let first = watch.look_at(&status(100), totals(10), start);
        assert!(first.get("rate").is_none(), "{first}");
        let later = start + Duration::from_secs(2);
        let second = watch.look_at(&status(2_100), totals(30), later);
        assert_eq!(second["rate"], 1_000);
        assert_eq!(second["tasks"]["0_0"]["rate"], 1_000);
        assert_eq!(second["nodes"]["judge"], 10);
        assert_eq!((&second["lag"], &second["tasks"]["0_0"]["lag"]), (&json!(7), &json!(7)));
    }

    #[test]
    fn a_task_that_came_back_counts_from_zero() {
        let mut watch = Watch::default();
        let start = Instant::now();
        watch.look_at(&status(5_000), totals(0), start);
        let document = watch.look_at(&status(300), totals(0), start + Duration::from_secs(1));
        assert_eq!(document["rate"], 300);
    }

    #[test]
    fn a_document_holds_no_null() {
        fn assert_no_null(value: &Value) {
            match value {
                Value::Null => panic!("a null"),
                Value::Object(members) => members.values().for_each(assert_no_null),
                Value::Array(items) => items.iter().for_each(assert_no_null),
                _ => {}
            }
        }
        let mut watch = Watch::default();
        assert_no_null(&watch.look_at(&status(1), totals(1), Instant::now()));
        assert_no_null(&watch.look_at(&status(2), totals(2), Instant::now()));
    }

    #[test]
    fn numbers_keep_three_digits() {
        assert_eq!(rounded(123_456.0), json!(123_000));
        assert_eq!(rounded(0.012_345), json!(0.0123));
        assert_eq!(rounded(0.0), json!(0.0));
    }
}
