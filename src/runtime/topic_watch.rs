//! The watch over the topics that an instance reads, changelogs included: one that is deleted, created anew or given more
//! partitions ends the instance, with words that say so.
//!
//! Without it, a deleted input would look like one that brings nothing; one that was created anew
//! would be read from offsets that mean something else; and keys would move to partitions whose tasks
//! have not their state.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::error::RuntimeError;
use super::plan::Plan;
use super::stop::StopSignal;
use crate::clock::Clock;
use crate::kafka::{Admin, TopicUuid};

/// How often the cluster is asked.
const LOOK: Duration = Duration::from_secs(3);
/// How many looks in a row have to find the same. A broker that has just started may not know all
/// topics yet.
const SURE_AFTER: u32 = 3;
/// How long the cluster may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How soon it is seen that the instance stops.
const STEP: Duration = Duration::from_millis(100);

/// See the [module](self).
pub(super) struct TopicWatch<A> {
    admin: A,
    clock: Clock,
    stop: Arc<StopSignal>,
    topics: Vec<Watched>,
}

/// A topic as it was when the instance started.
struct Watched {
    topic: Arc<str>,
    partitions: Option<i32>,
    /// As the first look found it, where the cluster tells one.
    id: Option<TopicUuid>,
    /// What the last looks found to be different, and how many of them did.
    found: Option<(String, u32)>,
}

impl<A: Admin> TopicWatch<A> {
    /// Over the inputs and changelogs of a plan, until `stop` is told.
    pub(super) fn new(admin: A, clock: Clock, stop: Arc<StopSignal>, plan: &Plan) -> Self {
        let mut topics = BTreeMap::new();
        for (_, part) in plan.subtopologies() {
            let inputs = part.inputs.iter().map(|input| &input.topic);
            let changelogs = part.changelogs.iter().flatten().map(|log| &log.topic);
            for topic in inputs.chain(changelogs) {
                // What is created at the start is described without its partitions being counted.
                topics.insert(topic.clone(), plan.partitions(topic));
            }
        }
        let watched = topics.into_iter().map(|(topic, partitions)| Watched {
            topic,
            partitions,
            id: None,
            found: None,
        });
        Self { admin, clock, stop, topics: watched.collect() }
    }

    /// Watches until the instance stops, or has to.
    pub(super) fn run(mut self) -> Result<(), RuntimeError> {
        loop {
            self.look()?;
            let looked = self.clock.now();
            while self.clock.elapsed(looked) < LOOK {
                if self.stop.is_told() {
                    return Ok(());
                }
                self.clock.sleep(STEP);
            }
        }
    }

    fn look(&mut self) -> Result<(), RuntimeError> {
        let names: Vec<&str> = self.topics.iter().map(|watched| &*watched.topic).collect();
        let described = match self.admin.describe_topics(&names, TIMEOUT) {
            Ok(described) => described,
            Err(error) => {
                // Others notice and say that the cluster is away.
                tracing::debug!(%error, "cannot look after the topics");
                return Ok(());
            }
        };
        let now: HashMap<Arc<str>, (i32, Option<TopicUuid>)> = described
            .into_iter()
            .flatten()
            .map(|info| {
                let partitions = i32::try_from(info.partitions.len()).unwrap_or(i32::MAX);
                (info.name, (partitions, info.id))
            })
            .collect();
        for watched in &mut self.topics {
            let difference = watched.difference(now.get(&watched.topic).copied());
            if let Some(what) = watched.note(difference) {
                let topic = watched.topic.to_string();
                return Err(RuntimeError::TopicChanged { topic, what });
            }
        }
        Ok(())
    }
}

impl Watched {
    /// What is different from when the instance started, in words that follow the topic's name.
    fn difference(&mut self, now: Option<(i32, Option<TopicUuid>)>) -> Option<String> {
        let Some((partitions, id)) = now else { return Some("was deleted".to_owned()) };
        let before = *self.partitions.get_or_insert(partitions);
        if partitions != before {
            return Some(format!("has {partitions} partitions instead of {before}"));
        }
        self.id = self.id.or(id);
        (self.id != id && id.is_some()).then(|| "was deleted and created anew".to_owned())
    }

    /// Takes note of what a look found; says what it was once it is sure.
    fn note(&mut self, difference: Option<String>) -> Option<String> {
        let before = self.found.take();
        let what = difference?;
        let looks = before.filter(|(known, _)| *known == what).map_or(0, |(_, looks)| looks) + 1;
        if looks >= SURE_AFTER {
            return Some(what);
        }
        self.found = Some((what, looks));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched() -> Watched {
        Watched { topic: "words".into(), partitions: Some(4), id: None, found: None }
    }

    #[test]
    fn a_topic_that_stays_as_it_is_is_never_suspected() {
        let mut topic = watched();
        for now in [(4, None), (4, Some(TopicUuid(1))), (4, None), (4, Some(TopicUuid(1)))] {
            assert_eq!(topic.difference(Some(now)), None, "{now:?}");
        }
    }

    #[test]
    fn deletion_growth_and_another_topic_of_the_name_are_told_apart() {
        let mut topic = watched();
        assert_eq!(topic.difference(Some((4, Some(TopicUuid(1))))), None);
        assert_eq!(topic.difference(None).unwrap(), "was deleted");
        assert_eq!(topic.difference(Some((6, None))).unwrap(), "has 6 partitions instead of 4");
        let anew = topic.difference(Some((4, Some(TopicUuid(2)))));
        assert_eq!(anew.unwrap(), "was deleted and created anew");
    }

    #[test]
    fn what_one_look_alone_finds_is_forgotten() {
        let mut topic = watched();
        let gone = || Some("was deleted".to_owned());
        for _ in 1..SURE_AFTER {
            assert_eq!(topic.note(gone()), None);
        }
        assert_eq!(topic.note(None), None);
        for _ in 1..SURE_AFTER {
            assert_eq!(topic.note(gone()), None);
        }
        assert_eq!(topic.note(gone()), gone());
    }
}
