//! What a topology may do without.

/// Which internal topics and stores a topology does without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Optimization {
    /// A table's source topic serves as its store's changelog.
    pub reuse_sources: bool,
    /// What several operations repartition in the same way is repartitioned once, under the first
    /// one's name.
    pub merge_repartitions: bool,
    /// An inner join of a stream with itself keeps its records once. Its results come in another
    /// order.
    pub single_store_self_joins: bool,
}

impl Optimization {
    /// Every operation has its own topics.
    pub const NONE: Self =
        Self { reuse_sources: false, merge_repartitions: false, single_store_self_joins: false };
    /// As few topics as possible.
    pub const ALL: Self =
        Self { reuse_sources: true, merge_repartitions: true, single_store_self_joins: true };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsl::builder::StreamsBuilder;
    use crate::dsl::options::{Consumed, Grouped, Materialized};
    use crate::serde::{I64, Utf8};

    /// A table, and one stream that is counted twice under another key.
    fn declared() -> StreamsBuilder {
        let builder = StreamsBuilder::new();
        builder.table("names", Consumed::with(Utf8, Utf8), Materialized::named("names", Utf8));
        let words = builder.stream("words", Consumed::with(Utf8, Utf8));
        let by_word = words.select_key(|_, word| word.clone());
        for store in ["first", "second"] {
            by_word.group_by_key(Grouped::with(Utf8, Utf8)).count(Materialized::named(store, I64));
        }
        builder
    }

    fn repartition_topics(topology: &crate::graph::Topology) -> Vec<String> {
        topology.repartition_topics().map(|topic| topic.name.to_string()).collect()
    }

    #[test]
    fn a_topology_that_was_built_can_still_be_optimized() {
        let plain = declared().build().unwrap();
        let two = ["first-repartition", "second-repartition"];
        assert_eq!(repartition_topics(&plain), two);
        let optimized = plain.optimized().unwrap();
        assert_eq!(repartition_topics(&optimized), two[..1]);
        // The one is left as it was by the other's existence.
        let logged = plain.internal_topics(&plain.subtopologies()[0]);
        assert_eq!(&*logged[0].name, "names-changelog");
        assert!(optimized.internal_topics(&optimized.subtopologies()[0]).is_empty());
    }

    #[test]
    fn what_the_code_has_chosen_is_not_changed_by_a_configuration() {
        let chosen = declared().build_optimized(Optimization::ALL).unwrap();
        assert_eq!(chosen.optimized().unwrap().optimization(), Optimization::ALL);
        let partly = Optimization { reuse_sources: true, ..Optimization::NONE };
        let refused = declared().build_optimized(partly).unwrap().optimized();
        assert!(refused.err().unwrap().to_string().contains("topology.optimization"));
    }
}
