//! Where a stream leaves the topology: topics, one for all records or one that each chooses.

use std::sync::Arc;

use crate::dsl::options::Produced;
use crate::dsl::stream::KStream;
use crate::graph::{Factory, NodeKind};
use crate::node::{Context, SinkTopic, Slot};
use crate::operators::sink::{Sink, Target};

impl<K: 'static, V: 'static> KStream<K, V> {
    /// Sends the records to a topic.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// words.to("copied", Produced::with(Utf8, Utf8).named("copy"));
    /// # builder.build().unwrap();
    /// ```
    pub fn to(&self, topic: impl Into<String>, produced: Produced<K, V>) {
        let topic = SinkTopic { name: topic.into().into(), internal: false };
        let shown = Some(topic.clone());
        self.sunk(shown, produced, move || Target::Fixed(topic.clone()));
    }

    /// Sends each record to the topic that `choose` names for it. The topics must exist.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// words.to_chosen(|_, word, _| format!("words-of-{}", word.len()), Produced::with(Utf8, Utf8));
    /// # builder.build().unwrap();
    /// ```
    pub fn to_chosen(
        &self,
        choose: impl Fn(&K, &V, &Context<'_>) -> String + Send + Sync + 'static,
        produced: Produced<K, V>,
    ) {
        let choose: crate::operators::sink::TopicChooser<K, V> = Arc::new(choose);
        self.sunk(None, produced, move || Target::Chosen(Arc::clone(&choose), Vec::new()));
    }

    fn sunk(
        &self,
        topic: Option<SinkTopic>,
        produced: Produced<K, V>,
        target: impl Fn() -> Target<K, V> + Send + Sync + 'static,
    ) {
        let name = self.plan.name(produced.name.as_deref(), "KSTREAM-SINK-");
        let own = name.clone();
        let factory: Factory = Arc::new(move |_| {
            Ok(Slot::new(Sink {
                target: target(),
                key: produced.key.clone(),
                value: produced.value.clone(),
                partitioner: produced.partitioner.clone(),
            }))
        });
        self.plan.add(
            &[self.node],
            &name,
            Box::new(move |parents, graph| {
                graph.add(
                    &own,
                    NodeKind::Sink { topic: topic.clone() },
                    parents,
                    &[],
                    Arc::clone(&factory),
                )
            }),
        );
    }
}
