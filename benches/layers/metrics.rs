//! What metrics cost: a scrape of an instance with a hundred tasks, and the counting of a record.

use criterion::Criterion;
use tidemill::metrics::{Format, LocalTopic, Metrics};
use tidemill_state::EngineProperty;

const TASKS: i32 = 100;
const THREADS: i32 = 4;
const NODES: i32 = 20;

/// An instance of the usual kind: each task with two inputs and two stores on disk.
pub fn scrape(c: &mut Criterion) {
    let metrics = Metrics::new("app", "one").unwrap();
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let name = format!("one-{number}");
            let nodes: Vec<_> =
                (0..NODES).map(|n| metrics.node(&name, &format!("NODE-{n}"))).collect();
            let clients = ["consumer", "producer"].map(|kind| metrics.kafka_client(&name, kind));
            let inputs = ["orders", "assets"].map(|topic| metrics.input_topic(&name, topic));
            let outputs = ["trades", "updates"].map(|topic| metrics.output_topic(&name, topic));
            (metrics.thread(&name), nodes, clients, inputs, outputs)
        })
        .collect();
    let tasks: Vec<_> = (0..TASKS)
        .map(|number| {
            let id = format!("0_{number}");
            let task = metrics.task(&id);
            let inputs = ["orders", "assets"].map(|topic| task.partition(topic, number));
            let stores = ["books", "index"].map(|store| metrics.store(&id, store));
            for store in &stores {
                store.set_engine(&[1_234_567; EngineProperty::ALL.len()]);
            }
            (task, inputs, stores)
        })
        .collect();
    let text = metrics.encode(Format::OpenMetrics);
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    eprintln!("a scrape of {TASKS} tasks: {series} series, {} KiB", text.len() / 1024);

    let mut group = c.benchmark_group("scrape");
    for (name, format) in [("text", Format::Text), ("OpenMetrics", Format::OpenMetrics)] {
        group.bench_function(name, |b| b.iter(|| metrics.encode(format)));
    }
    group.finish();
    drop((threads, tasks));
}

/// What is counted of a record that is read and of one that is written.
pub fn count(c: &mut Criterion) {
    let mut group = c.benchmark_group("count");
    let mut topics = [LocalTopic::default(), LocalTopic::default()];
    group.bench_function("record", |b| {
        b.iter(|| {
            for topic in &mut topics {
                topic.add(1, std::hint::black_box(88));
            }
        });
    });
    group.finish();
}
