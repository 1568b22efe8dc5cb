//! What every aggregation comes to: nodes that fold records into one store, and the table of it.

use std::sync::Arc;

use crate::dsl::builder::PlanRef;
use crate::dsl::table::TableStore;
use crate::error::Result;
use crate::graph::{NodeKind, Wiring};
use crate::node::Slot;

/// Makes a node that aggregates, given the name of its store and whether the nodes below want the
/// values that were there before.
pub type MakeAggregate = Arc<dyn Fn(&mut Wiring<'_>, &str, bool) -> Result<Slot> + Send + Sync>;

/// Adds a node below `input` that folds its records into `store`.
pub(crate) fn add_aggregate(
    plan: &PlanRef,
    input: usize,
    name: &str,
    store: &TableStore,
    make: MakeAggregate,
) -> usize {
    store.require();
    let (own, kept) = (name.to_owned(), store.clone());
    plan.add(
        &[input],
        name,
        Box::new(move |parents, graph| {
            let stores = kept.write(graph)?;
            let (make, store, send_old) = (Arc::clone(&make), kept.name(), kept.sends_old());
            graph.add(
                &own,
                NodeKind::Processor,
                parents,
                &stores,
                Arc::new(move |wiring| make(wiring, &store, send_old)),
            )
        }),
    )
}
