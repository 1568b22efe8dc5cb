//! What is known of all instances: who lives, who has which task, who copies what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidemill_topology::graph::TaskId;

use super::record::{HeldTask, MemberRecord, StandbyCopy};

/// An instance that says nothing for so long counts as dead: several heartbeats.
pub const DEAD_AFTER: Duration = Duration::from_secs(10);
/// What a dead instance last said is forgotten after this time.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// An instance of the application, as others know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub instance: String,
    /// Where it answers HTTP, `host:port`; `None` where it serves nothing.
    pub host: Option<String>,
    /// Its stream threads that are members of the group.
    pub threads: BTreeSet<String>,
    /// The tasks that it was assigned.
    pub tasks: BTreeMap<TaskId, HeldTask>,
    /// The tasks whose state it keeps a copy of.
    pub standbys: BTreeMap<TaskId, StandbyCopy>,
    /// When its process started, in milliseconds since 1970.
    pub started_at_ms: i64,
    /// Whether it is this instance.
    pub is_self: bool,
    /// Whether it has been heard of lately. What a dead one had is what it had last.
    pub is_alive: bool,
}

#[cfg(test)]
impl Member {
    /// One that lives and holds nothing.
    pub(crate) fn named(instance: &str) -> Self {
        Self {
            instance: instance.to_owned(),
            host: None,
            threads: BTreeSet::new(),
            tasks: BTreeMap::new(),
            standbys: BTreeMap::new(),
            started_at_ms: 0,
            is_self: false,
            is_alive: true,
        }
    }
}

/// What is known of all instances. Shared by the threads of one.
#[derive(Debug)]
pub struct MembersView {
    own: String,
    /// Whether all that was said before this instance began to listen has been heard.
    is_complete: AtomicBool,
    known: Mutex<BTreeMap<String, Known>>,
}

#[derive(Debug)]
struct Known {
    record: MemberRecord,
    /// When it was heard of, by this instance's clock: nobody relies on another's.
    heard: Instant,
}

impl MembersView {
    /// Knows of nobody yet; `own` is this instance's id.
    #[must_use]
    pub fn new(own: &str) -> Self {
        Self { own: own.to_owned(), is_complete: AtomicBool::new(false), known: Mutex::default() }
    }

    /// Whether all others are known that live; before, some may be missing.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.is_complete.load(Ordering::Relaxed)
    }

    /// All that was said before this instance began to listen has been heard, or cannot be.
    pub fn complete(&self) {
        self.is_complete.store(true, Ordering::Relaxed);
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        // Every change under the lock is one assignment: nothing can be left half done.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An instance said this, at `heard`.
    pub fn heard(&self, record: MemberRecord, heard: Instant) {
        self.known().insert(record.instance.clone(), Known { record, heard });
    }

    /// An instance said that it is gone.
    pub fn left(&self, instance: &str) {
        self.known().remove(instance);
    }

    /// Forgets those who have been dead for long; their ids.
    pub fn forget_dead(&self, now: Instant) -> Vec<String> {
        let mut known = self.known();
        let is_forgotten = |(id, known): &(&String, &Known)| {
            **id != self.own && now.saturating_duration_since(known.heard) >= FORGOTTEN_AFTER
        };
        let forgotten: Vec<String> =
            known.iter().filter(is_forgotten).map(|(id, _)| id.clone()).collect();
        known.retain(|id, _| !forgotten.contains(id));
        forgotten
    }

    /// For how long an instance has said nothing; `None` where it is not known.
    #[must_use]
    pub fn silent_for(&self, instance: &str, now: Instant) -> Option<Duration> {
        self.known().get(instance).map(|known| now.saturating_duration_since(known.heard))
    }

    /// Everybody that is known, the dead included until they are forgotten, in the order of their
    /// ids.
    #[must_use]
    pub fn members(&self, now: Instant) -> Vec<Member> {
        let known = self.known();
        let members = known.values().map(|Known { record, heard }| Member {
            instance: record.instance.clone(),
            host: record.host.clone(),
            threads: record.threads.clone(),
            tasks: record.tasks.clone(),
            standbys: record.standbys.clone(),
            started_at_ms: record.started_at_ms,
            is_self: record.instance == self.own,
            is_alive: record.instance == self.own
                || now.saturating_duration_since(*heard) < DEAD_AFTER,
        });
        members.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> (MembersView, Instant) {
        let (view, now) = (MembersView::new("me"), Instant::now());
        view.heard(MemberRecord::new("me", 1), now);
        view.heard(MemberRecord::new("you", 1), now);
        (view, now)
    }

    fn alive(view: &MembersView, now: Instant) -> Vec<String> {
        let members = view.members(now).into_iter();
        members.filter(|member| member.is_alive).map(|member| member.instance).collect()
    }

    #[test]
    fn one_that_is_silent_for_long_counts_as_dead_and_is_forgotten_later() {
        let (view, start) = view();
        assert_eq!(alive(&view, start + DEAD_AFTER / 2), ["me", "you"]);
        assert_eq!(alive(&view, start + DEAD_AFTER), ["me"]);
        assert_eq!(view.members(start + DEAD_AFTER).len(), 2);
        assert!(view.forget_dead(start + DEAD_AFTER).is_empty());
        assert_eq!(view.forget_dead(start + FORGOTTEN_AFTER), ["you"]);
        assert_eq!(view.members(start + FORGOTTEN_AFTER).len(), 1);
    }

    #[test]
    fn a_heartbeat_brings_it_back_and_a_farewell_ends_it() {
        let (view, start) = view();
        let later = start + DEAD_AFTER;
        view.heard(MemberRecord::new("you", 2), later);
        assert_eq!(alive(&view, later), ["me", "you"]);
        view.left("you");
        assert_eq!(alive(&view, later), ["me"]);
    }
}
