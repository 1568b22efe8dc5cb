//! `/events`: the instance as it changes, as server-sent events.
//!
//! The first event, `snapshot`, is the whole document; each later one, `patch`, is a
//! merge patch with what has changed, about once a second. A client that comes back with
//! `Last-Event-ID` gets the patches that it missed, or a snapshot when that was too long ago.
//!
//! One look serves all clients, and nobody looks while there are none.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::Value;

use crate::http::event_stream::{Event, EventSink, heartbeat};
use crate::http::merge_patch;
use crate::http::response::{Failure, Response};
use crate::http::route::{Call, Route};
use crate::http::watch::Watch;
use crate::status::Introspect;

/// Time between two looks.
pub const PERIOD: Duration = Duration::from_secs(1);
/// Patches that are kept for clients that come back; they come once a period.
const KEPT: usize = 60;
/// Events that may wait for a client: all the patches that are kept, and some.
const AHEAD: usize = KEPT + 20;

/// What `/events` sends, and to whom.
pub struct Events {
    inner: Mutex<Inner>,
}

struct Inner {
    watch: Watch,
    document: Value,
    /// Tells the sequence of this server from that of an earlier one.
    epoch: u128,
    /// Number of the last event.
    sequence: u64,
    patches: VecDeque<(u64, Bytes)>,
    clients: Vec<EventSink>,
    /// When a client was last there; looks go on for a while after it left.
    last_needed: Option<Instant>,
}

impl Events {
    /// Without clients.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        Arc::new(Self {
            inner: Mutex::new(Inner {
                watch: Watch::default(),
                document: Value::Null,
                epoch,
                sequence: 0,
                patches: VecDeque::new(),
                clients: Vec::new(),
                last_needed: None,
            }),
        })
    }

    /// The route.
    pub fn route(self: &Arc<Self>) -> Route {
        let events = Arc::clone(self);
        Route::get("events", move |call| events.join(call))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Whatever was left half done is put right by the next snapshot.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anybody wants to know.
    #[must_use]
    pub fn needed(&self) -> bool {
        self.inner().needed(Instant::now())
    }

    /// Looks at the instance and tells the clients what has changed. Those that are behind are let
    /// go: they come back and get what they missed.
    pub fn tell(&self, instance: &dyn Introspect) {
        let mut inner = self.inner();
        let now = Instant::now();
        if !inner.needed(now) {
            return;
        }
        let event = inner.look(instance).unwrap_or_else(heartbeat);
        inner.clients.retain(|client| client.offer(event.clone()).is_ok());
        if !inner.clients.is_empty() {
            inner.last_needed = Some(now);
        }
    }

    fn join(&self, call: &Call<'_>) -> Result<Response, Failure> {
        let (sink, answer) = EventSink::open(AHEAD);
        let mut inner = self.inner();
        let now = Instant::now();
        if !inner.needed(now) {
            // Nobody has looked for long: what was seen then says nothing of now.
            inner.watch.forget();
            inner.patches.clear();
            inner.look(call.instance);
            inner.patches.clear();
        }
        inner.last_needed = Some(now);
        let missed = call.request.last_event_id().and_then(|id| inner.after(id));
        let events = missed.unwrap_or_else(|| vec![inner.snapshot()]);
        // There is room for them: the stream is new.
        if events.into_iter().all(|event| sink.offer(event).is_ok()) {
            inner.clients.push(sink);
        }
        Ok(answer)
    }
}

impl Inner {
    fn needed(&self, now: Instant) -> bool {
        // As long as a client that comes back finds its patches.
        let patience = PERIOD * KEPT as u32;
        self.last_needed.is_some_and(|last| now.duration_since(last) < patience)
    }

    /// Looks at the instance; gives the patch, if something has changed.
    fn look(&mut self, instance: &dyn Introspect) -> Option<Bytes> {
        let document = self.watch.look(instance);
        let patch = merge_patch::between(&self.document, &document)?;
        self.document = document;
        self.sequence += 1;
        let event = self.event("patch", &patch);
        if self.patches.len() == KEPT {
            self.patches.pop_front();
        }
        self.patches.push_back((self.sequence, event.clone()));
        Some(event)
    }

    fn event(&self, name: &str, data: &Value) -> Bytes {
        let id = format!("{}-{}", self.epoch, self.sequence);
        Event { id: &id, name, data: &data.to_string() }.to_bytes()
    }

    fn snapshot(&self) -> Bytes {
        self.event("snapshot", &self.document)
    }

    /// The patches behind the event of that id; `None` when some are no longer there.
    fn after(&self, id: &str) -> Option<Vec<Bytes>> {
        let (epoch, sequence) = id.split_once('-')?;
        let sequence: u64 = sequence.parse().ok()?;
        if epoch.parse() != Ok(self.epoch) || sequence > self.sequence {
            return None;
        }
        let oldest = self.patches.front().map_or(self.sequence + 1, |(number, _)| *number);
        let missed = self.patches.iter().filter(|(number, _)| *number > sequence);
        (sequence + 1 >= oldest).then(|| missed.map(|(_, patch)| patch.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use crate::http::tests::Instance;

    use super::*;

    const INSTANCE: Instance = Instance { ready: true, delay: Duration::ZERO };

    /// Looks until something has changed: the time does.
    fn next_patch(inner: &mut Inner) -> Bytes {
        loop {
            if let Some(patch) = inner.look(&INSTANCE) {
                return patch;
            }
        }
    }

    #[test]
    fn a_client_that_comes_back_gets_what_it_missed_and_nothing_else() {
        let events = Events::new();
        let mut inner = events.inner();
        let patches: Vec<Bytes> = (0..5).map(|_| next_patch(&mut inner)).collect();
        let id = |sequence: u64| format!("{}-{sequence}", inner.epoch);
        assert_eq!(inner.after(&id(3)), Some(patches[3..].to_vec()));
        assert_eq!(inner.after(&id(5)), Some(Vec::new()));
        assert_eq!(inner.after(&id(6)), None, "an event that was never sent");
        assert_eq!(inner.after("1-3"), None, "an event of another server");
        assert_eq!(inner.after("soon"), None);
    }

    #[test]
    fn a_client_that_was_away_for_too_long_gets_a_snapshot() {
        let events = Events::new();
        let mut inner = events.inner();
        (0..KEPT + 2).for_each(|_| drop(next_patch(&mut inner)));
        let id = |sequence: u64| format!("{}-{sequence}", inner.epoch);
        assert_eq!(inner.after(&id(1)), None);
        assert_eq!(inner.after(&id(2)).map(|missed| missed.len()), Some(KEPT));
        let snapshot = String::from_utf8(inner.snapshot().to_vec()).unwrap();
        assert!(snapshot.contains("event: snapshot\ndata: {"), "{snapshot}");
        assert!(snapshot.contains(&format!("id: {}", id(KEPT as u64 + 2))), "{snapshot}");
    }

    #[test]
    fn a_client_that_does_not_read_is_let_go_and_holds_up_nobody() {
        let events = Events::new();
        let (deaf, _answer) = EventSink::open(AHEAD);
        let (gone, _) = EventSink::open(AHEAD);
        {
            let mut inner = events.inner();
            inner.clients = vec![deaf, gone];
            inner.last_needed = Some(Instant::now());
        }
        events.tell(&INSTANCE);
        assert_eq!(events.inner().clients.len(), 1, "the one that is gone");
        for _ in 0..=AHEAD {
            events.tell(&INSTANCE);
        }
        assert_eq!(events.inner().clients.len(), 0);
    }

    #[test]
    fn nobody_looks_while_nobody_wants_to_know() {
        let events = Events::new();
        assert!(!events.needed());
        events.tell(&INSTANCE);
        assert_eq!(events.inner().sequence, 0);
    }
}
