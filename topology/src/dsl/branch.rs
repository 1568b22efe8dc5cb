//! Branches of a stream.

use std::collections::BTreeMap;
use std::ops::Index;
use std::sync::{Arc, Mutex, PoisonError};

use crate::dsl::stream::KStream;
use crate::node::Slot;
use crate::operators::branch::{Branch, Predicate};
use crate::operators::pass_through::PassThrough;

/// A stream being split; from [`KStream::split`].
pub struct Split<K, V> {
    stream: KStream<K, V>,
    prefix: String,
    node: usize,
    /// Predicates by the names of the nodes they lead to, in order; filled as branches are added.
    predicates: Predicates<K, V>,
    branches: BTreeMap<String, KStream<K, V>>,
}

type Predicates<K, V> = Arc<Mutex<Vec<(String, Predicate<K, V>)>>>;

/// The branches of a split stream, by name.
pub struct Branches<K, V>(BTreeMap<String, KStream<K, V>>);

impl<K, V> Branches<K, V> {
    /// The branch of that name; `None` if there is none.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&KStream<K, V>> {
        self.0.get(name)
    }
}

impl<K, V> Index<&str> for Branches<K, V> {
    type Output = KStream<K, V>;

    /// # Panics
    /// When no branch has that name.
    fn index(&self, name: &str) -> &Self::Output {
        &self.0[name]
    }
}

impl<K: 'static, V: 'static> Split<K, V> {
    pub(crate) fn new(stream: KStream<K, V>, name: Option<String>) -> Self {
        let prefix = stream.plan.name(name.as_deref(), "KSTREAM-BRANCH-");
        let predicates: Predicates<K, V> = Arc::default();
        let known = Arc::clone(&predicates);
        let node = stream.plan.processor(
            &[stream.node],
            &prefix,
            &[],
            Arc::new(move |wiring| {
                let known = known.lock().unwrap_or_else(PoisonError::into_inner);
                let branches = known
                    .iter()
                    .map(|(name, predicate)| Ok((Arc::clone(predicate), wiring.child(name)?)))
                    .collect::<crate::error::Result<Vec<_>>>()?;
                Ok(Slot::new(Branch::<K, V> { branches }))
            }),
        );
        Self { stream, prefix, node, predicates, branches: BTreeMap::new() }
    }

    /// The records for which `predicate` holds, and no earlier branch's did.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// let branches = words.split().branch("short", |_, word| word.len() < 4).no_default_branch();
    /// branches["short"].to("short-words", Produced::with(Utf8, Utf8));
    /// # builder.build().unwrap();
    /// ```
    #[must_use]
    pub fn branch(
        self,
        name: &str,
        predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static,
    ) -> Self {
        let number = self.branches.len() + 1;
        self.add(name, number, Arc::new(predicate))
    }

    fn add(mut self, name: &str, number: usize, predicate: Predicate<K, V>) -> Self {
        let node_name = format!("{}{number}", self.prefix);
        // Kafka Streams counts a branch like any operation, though its name has no number.
        self.stream.plan.name(None, "");
        let node = self.stream.plan.processor(
            &[self.node],
            &node_name,
            &[],
            Arc::new(|wiring| Ok(Slot::new(PassThrough { children: wiring.children::<K, V>() }))),
        );
        self.predicates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((node_name.clone(), predicate));
        let stream = &self.stream;
        let below = stream.below(node, node_name, stream.key.clone(), stream.value.clone(), false);
        if self.branches.insert(name.to_owned(), below).is_some() {
            self.stream.plan.error(format!("two branches of one split are named {name}"));
        }
        self
    }

    /// As [`branch`](Self::branch), and declares at once what follows on the branch, whose
    /// operations are then numbered before the next branch's.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// words
    ///     .split()
    ///     .branch_then("short", |_, word| word.len() < 4, |short| short.to("short", Produced::with(Utf8, Utf8)))
    ///     .default_branch_then("long", |long| long.to("long", Produced::with(Utf8, Utf8)));
    /// # builder.build().unwrap();
    /// ```
    #[must_use]
    pub fn branch_then(
        self,
        name: &str,
        predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static,
        then: impl FnOnce(&KStream<K, V>),
    ) -> Self {
        let split = self.branch(name, predicate);
        then(&split.branches[name]);
        split
    }

    /// As [`default_branch`](Self::default_branch), and declares at once what follows on it.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// words
    ///     .split()
    ///     .branch_then("short", |_, word| word.len() < 4, |short| short.for_each(|_, _| ()))
    ///     .default_branch_then("long", |long| long.to("long-words", Produced::with(Utf8, Utf8)));
    /// # builder.build().unwrap();
    /// ```
    pub fn default_branch_then(
        self,
        name: &str,
        then: impl FnOnce(&KStream<K, V>),
    ) -> Branches<K, V> {
        let branches = self.default_branch(name);
        then(&branches[name]);
        branches
    }

    /// The records that no branch took.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// let branches = words.split().branch("short", |_, word| word.len() < 4).default_branch("long");
    /// branches["long"].to("long-words", Produced::with(Utf8, Utf8));
    /// # builder.build().unwrap();
    /// ```
    #[must_use]
    pub fn default_branch(self, name: &str) -> Branches<K, V> {
        Branches(self.add(name, 0, Arc::new(|_, _| true)).branches)
    }

    /// Ends the split; records that no branch took go no further.
    ///
    /// ```
    /// # use tidemill_topology::prelude::*;
    /// # let builder = StreamsBuilder::new();
    /// # let words = builder.stream("words", Consumed::with(Utf8, Utf8));
    /// let branches = words.split().branch("short", |_, word| word.len() < 4).no_default_branch();
    /// assert!(branches.get("long").is_none());
    /// # builder.build().unwrap();
    /// ```
    #[must_use]
    pub fn no_default_branch(self) -> Branches<K, V> {
        Branches(self.branches)
    }
}
