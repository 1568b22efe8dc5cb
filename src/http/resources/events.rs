//! `/events`: the instance as it changes, as server-sent events.
//!
//! The first event, `snapshot`, is the whole document of [`Watch`]; each later one, `patch`, is a
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
