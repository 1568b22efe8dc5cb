//! What a stream thread counts and measures besides its own bundle: topics, nodes, clients, and
//! what its tasks counted. Plain integers on the record path, published now and then.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill_topology::node::DropReason;
use tidemill_topology::time::Timestamp;

use crate::kafka::{Consumer, Message, Producer};
use crate::metrics::{
    InputTopicMetrics, KafkaClientMetrics, LocalTopic, NodeMetrics, OutputTopicMetrics,
};
use crate::runtime::active_task::ActiveTask;
use crate::runtime::collector::Collector;
use crate::runtime::input::Span;
use crate::runtime::observe::Shared;
use crate::runtime::pack::Contents;

/// How often the engine is asked for a store's properties, which takes a look into each database.
const ENGINE_LOOK: Duration = Duration::from_secs(2);

/// See the [module](self).
pub(super) struct Meters {
    thread: Arc<str>,
    shared: Arc<Shared>,
    /// The dead-letter topic, where there is one.
    dead_letters: Option<Arc<str>>,
    inputs: Vec<InputMeter>,
    /// In the order of the collector's topics.
    outputs: Vec<OutputTopicMetrics>,
    nodes: HashMap<String, NodeMetrics>,
    consumer: KafkaClientMetrics,
    producer: KafkaClientMetrics,
    engine_looked: Option<Instant>,
}

/// A topic that the thread reads.
struct InputMeter {
    topic: Arc<str>,
    local: LocalTopic,
    metrics: InputTopicMetrics,
}

impl Meters {
    pub(super) fn new(thread: &str, shared: &Arc<Shared>, dead_letters: Option<Arc<str>>) -> Self {
        Self {
            thread: thread.into(),
            shared: Arc::clone(shared),
            dead_letters,
            inputs: Vec::new(),
            outputs: Vec::new(),
            nodes: HashMap::new(),
            consumer: shared.metrics.kafka_client(thread, "consumer"),
            producer: shared.metrics.kafka_client(thread, "producer"),
            engine_looked: None,
        }
    }

    /// The place of an input topic, to count under.
    pub(super) fn input(&mut self, topic: &Arc<str>) -> usize {
        if let Some(at) = self.inputs.iter().position(|input| input.topic == *topic) {
            return at;
        }
        self.inputs.push(InputMeter {
            topic: Arc::clone(topic),
            local: LocalTopic::default(),
            metrics: self.shared.metrics.input_topic(&self.thread, topic),
        });
        self.inputs.len() - 1
    }

    /// Counts what a message of an input topic held.
    #[inline]
    pub(super) fn read(&mut self, input: usize, contents: Contents) {
        self.inputs[input].local.add(u64::from(contents.records), contents.bytes);
    }

    /// The ends of a batch that a task has just processed.
    pub(super) fn processed(&self, span: &Span, now: Timestamp) {
        for (meter, timestamp) in span.ends() {
            self.inputs[meter].metrics.processed_at_age(now - timestamp);
        }
    }

    /// The ends of what has just been committed of an input.
    pub(super) fn committed(&self, span: &Span, now: Timestamp) {
        for (meter, timestamp) in span.ends() {
            self.inputs[meter].metrics.committed_at_age(now - timestamp);
        }
    }

    /// Takes over what a task counted. Also before it closes or is made anew: a drop is never
    /// forgotten.
    pub(super) fn take_counts<M: Message>(&mut self, task: &mut ActiveTask<M>) {
        task.local.publish(&task.metrics);
        let Self { nodes, shared, thread, .. } = self;
        task.task.take_node_records(|name, records| {
            if let Some(node) = nodes.get(name) {
                node.processed(records);
            } else {
                let node = shared.metrics.node(thread, name);
                node.processed(records);
                nodes.insert(name.to_owned(), node);
            }
        });
        for reason in DropReason::ALL {
            let total = task.task.dropped(reason);
            let seen = &mut task.dropped_seen[reason as usize];
            let more = total.saturating_sub(*seen);
            *seen = total;
            if more == 0 {
                continue;
            }
            task.metrics.dropped(reason.name(), more);
            if let Some(topic) = &self.dead_letters
                && reason.has_dead_letter()
            {
                self.shared.client().dead_letter(topic, reason.name(), more);
            }
        }
    }

    /// Publishes what belongs to no task.
    pub(super) fn publish<C: Consumer, P: Producer>(
        &mut self,
        consumer: &mut C,
        collector: &mut Collector<P>,
    ) {
        for input in &mut self.inputs {
            input.local.publish_input(&input.metrics);
        }
        for (at, output) in collector.outputs().iter_mut().enumerate() {
            if at == self.outputs.len() {
                self.outputs.push(self.shared.metrics.output_topic(&self.thread, &output.topic));
            }
            output.counts.publish_output(&self.outputs[at]);
        }
        if let Some(said) = consumer.take_statistics() {
            self.consumer.publish(&said);
        }
        if let Some(said) = collector.producer().take_statistics() {
            self.producer.publish(&said);
        }
    }

    /// Whether it is time to ask the engine for the stores' properties.
    pub(super) fn engine_look_is_due(&mut self, now: Instant) -> bool {
        let due = |looked| now.saturating_duration_since(looked) >= ENGINE_LOOK;
        let due = self.engine_looked.is_none_or(due);
        if due {
            self.engine_looked = Some(now);
        }
        due
    }
}
