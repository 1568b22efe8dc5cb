//! What an upgrade from a saved description of a topology to another topology would break.
//!
//! State is found again by name: a store by its own and its changelog's, a record on its way by its
//! repartition topic's. What is not found again under its name, or is read as something else, is
//! lost, unless the application is drained or reset first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::graph::{
    Description, NodeRole, RepartitionDescription, StoreDescription, SubtopologyDescription,
    Topology,
};
use crate::store::spec::StoreKind;

/// What a difference does to an application that has run before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// State or records on their way are lost or misread, or a start is refused.
    Breaks,
    /// It works under a condition that the difference names.
    Condition,
    /// Nothing has to be done.
    Safe,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Breaks => "breaks",
            Self::Condition => "condition",
            Self::Safe => "safe",
        })
    }
}

/// One difference between two topologies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Difference {
    /// What it does.
    pub effect: Effect,
    /// What differs, such as `store counts`.
    pub subject: String,
    /// How it differs, and what follows.
    pub change: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:9}  {}: {}", self.effect, self.subject, self.change)
    }
}

/// The differences between a saved topology and the one that is to take its place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// The differences, the worst first.
    pub differences: Vec<Difference>,
}

impl Comparison {
    /// Whether the upgrade loses or misreads anything, or is refused.
    #[must_use]
    pub fn breaks(&self) -> bool {
        self.differences.iter().any(|difference| difference.effect == Effect::Breaks)
    }

    /// As a JSON document.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        // It holds strings alone, which always have a JSON form.
        serde_json::to_value(self).unwrap_or_default()
    }

    fn add(&mut self, effect: Effect, subject: String, change: impl Into<String>) {
        self.differences.push(Difference { effect, subject, change: change.into() });
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.differences.is_empty() {
            return writeln!(f, "no difference");
        }
        self.differences.iter().try_for_each(|difference| writeln!(f, "{difference}"))
    }
}

impl Topology {
    /// Compares the topology with the saved description of another that it is to take the place
    /// of, under the same application id.
    ///
    /// ```
    /// use tidemill_topology::graph::Effect;
    /// use tidemill_topology::prelude::*;
    ///
    /// fn counted(store: &str) -> Topology {
    ///     let builder = StreamsBuilder::new();
    ///     builder
    ///         .stream("words", Consumed::with(Utf8, Utf8))
    ///         .group_by_key(Grouped::with(Utf8, Utf8))
    ///         .count(Materialized::named(store, I64));
    ///     builder.build().unwrap()
    /// }
    ///
    /// let saved = counted("counts").describe().to_json().to_string();
    /// let saved: Description = saved.parse().unwrap();
    /// assert!(!counted("counts").compare(&saved).breaks());
    ///
    /// let comparison = counted("words-counted").compare(&saved);
    /// assert!(comparison.breaks());
    /// assert_eq!(comparison.differences[0].subject, "store counts");
    /// assert_eq!(comparison.differences[0].effect, Effect::Breaks);
    /// ```
    #[must_use]
    pub fn compare(&self, saved: &Description) -> Comparison {
        self.describe().compare(saved)
    }
}

impl Description {
    /// As [`Topology::compare`], of a description.
    #[must_use]
    pub fn compare(&self, saved: &Self) -> Comparison {
        let mut comparison = Comparison::default();
        compare_stores(saved, self, &mut comparison);
        compare_repartitions(saved, self, &mut comparison);
        compare_subtopologies(saved, self, &mut comparison);
        compare_copartitions(saved, self, &mut comparison);
        compare_topics(saved, self, &mut comparison);
        comparison.differences.sort();
        comparison
    }

    fn store_names(&self) -> BTreeSet<&str> {
        self.subtopologies.iter().flat_map(|one| &one.stores).map(String::as_str).collect()
    }

    fn store(&self, name: &str) -> Option<&StoreDescription> {
        self.state.as_ref()?.stores.iter().find(|store| store.name == name)
    }

    fn topics(&self, role: NodeRole) -> BTreeSet<&str> {
        let nodes = self.subtopologies.iter().flat_map(|one| &one.nodes);
        let of_role = nodes.filter(|node| node.kind == role);
        of_role.flat_map(|node| &node.topics).map(String::as_str).collect()
    }

    /// Names of the repartition topics: those that the topology both writes and reads. Text does
    /// not tell them from others; their names end alike.
    fn repartition_names(&self) -> BTreeSet<&str> {
        match &self.state {
            Some(state) => state.repartition_topics.iter().map(|topic| &*topic.name).collect(),
            None => {
                let written = self.topics(NodeRole::Sink);
                let read = self.topics(NodeRole::Source);
                let both = written.intersection(&read).copied();
                both.filter(|name| name.ends_with("-repartition") || name.ends_with("-topic"))
                    .collect()
            }
        }
    }

    fn repartition(&self, name: &str) -> Option<&RepartitionDescription> {
        self.state.as_ref()?.repartition_topics.iter().find(|topic| topic.name == name)
    }
}

fn compare_stores(saved: &Description, new: &Description, comparison: &mut Comparison) {
    let (before, after) = (saved.store_names(), new.store_names());
    for name in &before {
        let subject = format!("store {name}");
        if !after.contains(name) {
            let change =
                "is gone, and what it keeps with it; if it was renamed, give it its old name";
            comparison.add(Effect::Breaks, subject, change);
        } else if let (Some(old), Some(new)) = (saved.store(name), new.store(name)) {
            compare_store(&subject, old, new, comparison);
        }
    }
    for name in after.difference(&before) {
        comparison.add(Effect::Safe, format!("store {name}"), "is new, and starts empty");
    }
}

fn compare_store(
    subject: &str,
    old: &StoreDescription,
    new: &StoreDescription,
    comparison: &mut Comparison,
) {
    let mut add = |effect, change: String| comparison.add(effect, subject.to_owned(), change);
    compare_kinds(old.kind, new.kind, &mut add);
    for (part, old, new) in [("keys", &old.key, &new.key), ("values", &old.value, &new.value)] {
        if old != new {
            add(
                Effect::Breaks,
                format!(
                    "{part} are {new}, and were {old}: unless the bytes are the same, what is kept is misread"
                ),
            );
        }
    }
    match (&old.changelog, &new.changelog) {
        (old, new) if old == new => {}
        (Some(_), Some(topic)) if new.reuses_source => add(
            Effect::Condition,
            format!(
                "its changelog is now its input {topic}, which must hold all of the table, compacted"
            ),
        ),
        (Some(before), Some(topic)) => add(
            Effect::Breaks,
            format!("its changelog is {topic}, and was {before}: what is kept is not in it"),
        ),
        (Some(_), None) => add(
            Effect::Condition,
            "has no changelog any more: what it keeps is lost with its disk".to_owned(),
        ),
        (None, _) => add(
            Effect::Breaks,
            "has a changelog now, which does not hold what the store kept so far".to_owned(),
        ),
    }
    if old.persistent != new.persistent {
        let place = if new.persistent { "on disk" } else { "in memory" };
        match &new.changelog {
            Some(_) => add(Effect::Condition, format!("lies {place} now: it is restored once")),
            None => add(Effect::Breaks, format!("lies {place} now, and starts empty")),
        }
    }
    if old.caching != new.caching {
        let when = if new.caching { "at the commit" } else { "at once" };
        add(Effect::Safe, format!("its updates come out {when} now"));
    }
}

fn compare_kinds(old: StoreKind, new: StoreKind, add: &mut impl FnMut(Effect, String)) {
    if std::mem::discriminant(&old) != std::mem::discriminant(&new) {
        return add(
            Effect::Breaks,
            format!("is of kind {}, and was {}: its changelog is misread", new.name(), old.name()),
        );
    }
    if let (Some(before), Some(after)) = (old.window_ms(), new.window_ms())
        && before != after
    {
        add(
            Effect::Breaks,
            format!(
                "windows are {after} ms long, and were {before} ms: windows that are kept get another end"
            ),
        );
    }
    if old.segment_ms() != new.segment_ms() {
        add(
            Effect::Condition,
            "its segments are of another length: each task restores it once".to_owned(),
        );
    }
    if old.retention_ms() != new.retention_ms() || old.history_ms() != new.history_ms() {
        add(
            Effect::Condition,
            "keeps entries for another time: what a longer one would have kept is gone already, and \
             of a versioned store alter the changelog's min.compaction.lag.ms likewise"
                .to_owned(),
        );
    }
}

fn compare_repartitions(saved: &Description, new: &Description, comparison: &mut Comparison) {
    let (before, after) = (saved.repartition_names(), new.repartition_names());
    for name in &before {
        let subject = format!("repartition topic {name}");
        if !after.contains(name) {
            let change = "is gone: records in it that were not processed yet are lost; if it was \
                          renamed, give it its old name";
            comparison.add(Effect::Breaks, subject, change);
            continue;
        }
        let (Some(old), Some(new)) = (saved.repartition(name), new.repartition(name)) else {
            continue;
        };
        if old.partitions != new.partitions {
            let count = |count: Option<i32>| {
                count.map_or("as many partitions as its inputs".to_owned(), |count| {
                    format!("{count} partitions")
                })
            };
            let change = format!(
                "has {}, and had {}: a start refuses a topic that has another number",
                count(new.partitions),
                count(old.partitions)
            );
            comparison.add(Effect::Breaks, subject.clone(), change);
        }
        for (part, old, new) in [("keys", &old.key, &new.key), ("values", &old.value, &new.value)] {
            if old != new {
                let change = format!(
                    "{part} are {new}, and were {old}: unless the bytes are the same, records in it are misread"
                );
                comparison.add(Effect::Breaks, subject.clone(), change);
            }
        }
    }
    for name in after.difference(&before) {
        let subject = format!("repartition topic {name}");
        comparison.add(Effect::Safe, subject, "is new, and will be created");
    }
}

/// A subtopology is found again by what it keeps and reads; its number names its tasks, and with
/// them the folders of their state.
fn compare_subtopologies(saved: &Description, new: &Description, comparison: &mut Comparison) {
    let marks = |one: &SubtopologyDescription| -> BTreeSet<String> {
        let sources = one.nodes.iter().filter(|node| node.kind == NodeRole::Source);
        let topics = sources.flat_map(|node| &node.topics).map(|topic| format!("topic {topic}"));
        topics.chain(one.stores.iter().map(|store| format!("store {store}"))).collect()
    };
    let now: BTreeMap<String, u32> = new
        .subtopologies
        .iter()
        .flat_map(|one| marks(one).into_iter().map(move |mark| (mark, one.id)))
        .collect();
    for one in saved.subtopologies.iter().filter(|one| !one.is_global) {
        let found: BTreeSet<u32> =
            marks(one).iter().filter_map(|mark| now.get(mark)).copied().collect();
        if found.is_empty() || found == BTreeSet::from([one.id]) {
            continue;
        }
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        let stores = match one.stores.as_slice() {
            [] => "its tasks keep nothing".to_owned(),
            stores => format!("{} are restored from their changelogs", stores.join(", ")),
        };
        let change = format!(
            "is now {}: {stores}; stop every instance before the first new one starts, as old and \
             new ones disagree on the tasks",
            found.join(" and ")
        );
        let unlogged = one
            .stores
            .iter()
            .any(|name| saved.store(name).is_some_and(|store| store.changelog.is_none()));
        let effect = if unlogged { Effect::Breaks } else { Effect::Condition };
        comparison.add(effect, format!("subtopology {}", one.id), change);
    }
}

fn compare_copartitions(saved: &Description, new: &Description, comparison: &mut Comparison) {
    let (Some(saved), Some(new)) = (&saved.state, &new.state) else { return };
    for group in new.copartitioned.difference(&saved.copartitioned) {
        let topics: Vec<&str> = group.iter().map(String::as_str).collect();
        comparison.add(
            Effect::Condition,
            format!("topics {}", topics.join(", ")),
            "are joined now: a start refuses unless they have as many partitions as each other",
        );
    }
}

fn compare_topics(saved: &Description, new: &Description, comparison: &mut Comparison) {
    let internal: BTreeSet<&str> =
        saved.repartition_names().union(&new.repartition_names()).copied().collect();
    let roles = [
        (NodeRole::Source, "input", "is no longer read", "is read now, from auto.offset.reset on"),
        (NodeRole::Sink, "output", "is no longer written", "is written now"),
    ];
    for (role, word, gone, added) in roles {
        let (before, after) = (saved.topics(role), new.topics(role));
        for topic in before.difference(&after).filter(|topic| !internal.contains(*topic)) {
            comparison.add(Effect::Safe, format!("{word} {topic}"), gone);
        }
        for topic in after.difference(&before).filter(|topic| !internal.contains(*topic)) {
            comparison.add(Effect::Safe, format!("{word} {topic}"), added);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::prelude::*;

    struct Counted {
        topic_name: &'static str,
        store: Materialized<i64>,
        window_ms: u64,
        partitions: i32,
        leading_table: bool,
    }

    impl Default for Counted {
        fn default() -> Self {
            Self {
                topic_name: "by-word",
                store: Materialized::named("counts", I64),
                window_ms: 60_000,
                partitions: 4,
                leading_table: false,
            }
        }
    }

    /// Words counted by window, with one thing or another about it said differently.
    fn counted(what: Counted) -> Description {
        let builder = StreamsBuilder::new();
        if what.leading_table {
            builder.table("users", Consumed::with(Utf8, Utf8), Materialized::named("users", Utf8));
        }
        let by_word =
            Repartitioned::with(Utf8, Utf8).named(what.topic_name).partitions(what.partitions);
        builder
            .stream("words", Consumed::with(Utf8, Utf8))
            .select_key(|_, word| word.clone())
            .repartition(by_word)
            .group_by_key(Grouped::with(Utf8, Utf8))
            .windowed_by(TimeWindows::of(Duration::from_millis(what.window_ms)))
            .count(what.store);
        builder.build().unwrap().describe()
    }

    /// Subjects and effects of an upgrade from the usual description to `new`.
    fn upgraded(new: Counted) -> Vec<(String, Effect)> {
        let comparison = counted(new).compare(&counted(Counted::default()));
        let differences = comparison.differences.into_iter();
        differences.map(|difference| (difference.subject, difference.effect)).collect()
    }

    #[test]
    fn a_topology_does_not_differ_from_itself() {
        assert_eq!(upgraded(Counted::default()), []);
        let described = counted(Counted::default());
        let text: Description = described.to_string().parse().unwrap();
        assert_eq!(described.compare(&text).differences, []);
    }

    #[test]
    fn a_renamed_repartition_topic_breaks_and_so_do_other_partitions() {
        let gone = ("repartition topic by-word-repartition".to_owned(), Effect::Breaks);
        let new = ("repartition topic words-repartition".to_owned(), Effect::Safe);
        let renamed = upgraded(Counted { topic_name: "words", ..Counted::default() });
        assert_eq!(renamed, [gone.clone(), new]);
        assert_eq!(upgraded(Counted { partitions: 5, ..Counted::default() }), [gone]);
    }

    #[test]
    fn windows_of_another_length_break_and_another_retention_sets_a_condition() {
        let store = "store counts".to_owned();
        let longer = upgraded(Counted { window_ms: 61_000, ..Counted::default() });
        assert!(longer.contains(&(store.clone(), Effect::Breaks)), "{longer:?}");
        let retained = Materialized::named("counts", I64).retention(Duration::from_secs(100));
        let kept = upgraded(Counted { store: retained, ..Counted::default() });
        assert_eq!(kept, [(store, Effect::Condition)]);
    }

    #[test]
    fn a_store_that_loses_or_gets_its_changelog_says_what_follows() {
        let unlogged = || Counted {
            store: Materialized::named("counts", I64).without_logging(),
            ..Counted::default()
        };
        let store = "store counts".to_owned();
        assert_eq!(upgraded(unlogged()), [(store.clone(), Effect::Condition)]);
        let logged = counted(Counted::default()).compare(&counted(unlogged()));
        assert_eq!(logged.differences[0].effect, Effect::Breaks);
        let cached = Materialized::named("counts", I64).caching(true);
        assert_eq!(
            upgraded(Counted { store: cached, ..Counted::default() }),
            [(store, Effect::Safe)]
        );
    }

    #[test]
    fn a_source_declared_before_others_moves_their_tasks() {
        let moved = upgraded(Counted { leading_table: true, ..Counted::default() });
        assert_eq!(
            moved,
            [
                ("subtopology 0".to_owned(), Effect::Condition),
                ("subtopology 1".to_owned(), Effect::Condition),
                ("input users".to_owned(), Effect::Safe),
                ("store users".to_owned(), Effect::Safe),
            ]
        );
    }

    #[test]
    fn values_of_another_format_break() {
        let table = |values_are_text: bool| {
            let builder = StreamsBuilder::new();
            if values_are_text {
                builder.table("a", Consumed::with(Utf8, Utf8), Materialized::named("a", Utf8));
            } else {
                builder.table("a", Consumed::with(Utf8, Bytes), Materialized::named("a", Bytes));
            }
            builder.build().unwrap().describe()
        };
        let comparison = table(false).compare(&table(true));
        assert_eq!(comparison.differences.len(), 1);
        assert!(comparison.differences[0].change.starts_with("values are Bytes, and were Utf8"));
        assert!(comparison.breaks());
    }
}
