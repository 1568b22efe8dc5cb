//! Server-sent events: [`Event`] as text, and the two ends of a stream of them.
//!
//! A client that reads more slowly than events come must not hold up their maker, nor make it keep
//! what nobody reads. So a stream holds a bounded number of events. A maker that serves many
//! clients uses [`EventSink::offer`], which never waits, and lets go of a client that is behind; a
//! maker with a thread for one client uses [`EventSink::send`], which waits. Either way the client
//! comes back with the id of the last event it has seen.

use std::fmt::Write as _;

use bytes::Bytes;
use hyper::StatusCode;
use tokio::sync::mpsc::{self, error::TrySendError};

use super::body::Body;
use super::response::{self, Response};

/// How long a client waits before it connects again, in ms.
const RETRY_MS: u32 = 1_000;

/// One event, or part of one: what is empty is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Event<'e> {
    /// What a client that comes back sends as `Last-Event-ID`. Alone, without data, it moves that
    /// id on and the client hears of nothing.
    pub id: &'e str,
    /// What kind of event it is.
    pub name: &'e str,
    /// Its data; may have several lines.
    pub data: &'e str,
}

impl Event<'_> {
    /// The event as it goes over the wire.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut text = String::with_capacity(self.data.len() + 64);
        // Writing to a String cannot fail.
        for (field, value) in [("id", self.id), ("event", self.name)] {
            if !value.is_empty() {
                let _ = writeln!(text, "{field}: {value}");
            }
        }
        if !self.data.is_empty() {
            for line in self.data.lines() {
                let _ = writeln!(text, "data: {line}");
            }
        }
        text.push('\n');
        text.into()
    }
}

/// A comment: it keeps the connection in use, so that either side notices when the other is gone.
#[must_use]
pub fn heartbeat() -> Bytes {
    Bytes::from_static(b":\n\n")
}

/// Why an event was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotTaken {
    /// The client is behind by as much as the stream holds.
    Behind,
    /// The client is gone.
    Gone,
}

/// Where events go in. Dropping it ends the stream.
#[derive(Debug, Clone)]
pub struct EventSink(mpsc::Sender<Bytes>);

impl EventSink {
    /// A stream that holds up to `capacity` events, and the answer that carries it.
    #[must_use]
    pub fn open(capacity: usize) -> (Self, Response) {
        // One place more, for the line that says when to come back.
        let (sender, receiver) = mpsc::channel(capacity + 1);
        // There is room: the channel is new.
        let _ = sender.try_send(format!("retry: {RETRY_MS}\n\n").into());
        let body = Body::stream(receiver);
        (Self(sender), response::with_body(StatusCode::OK, "text/event-stream", body))
    }

    /// Hands over, without waiting.
    ///
    /// # Errors
    /// When the client is behind or gone: let go of it.
    pub fn offer(&self, event: Bytes) -> Result<(), NotTaken> {
        self.0.try_send(event).map_err(|error| match error {
            TrySendError::Full(_) => NotTaken::Behind,
            TrySendError::Closed(_) => NotTaken::Gone,
        })
    }

    /// Hands over, and waits for room. For threads of the maker's own: it panics on one that runs
    /// asynchronous work.
    ///
    /// # Errors
    /// [`NotTaken::Gone`].
    pub fn send(&self, event: Bytes) -> Result<(), NotTaken> {
        self.0.blocking_send(event).map_err(|_| NotTaken::Gone)
    }

    /// Whether the client is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_written_field_by_field() {
        let event = Event { id: "7", name: "trade", data: "{\"a\":1}" };
        assert_eq!(event.to_bytes(), "id: 7\nevent: trade\ndata: {\"a\":1}\n\n");
        let lines = Event { data: "a\nb", ..Event::default() };
        assert_eq!(lines.to_bytes(), "data: a\ndata: b\n\n");
        assert_eq!(Event { id: "9", ..Event::default() }.to_bytes(), "id: 9\n\n");
    }

    #[test]
    fn a_sink_refuses_what_a_client_that_is_behind_does_not_read() {
        let (sink, answer) = EventSink::open(2);
        assert_eq!(sink.offer(heartbeat()), Ok(()));
        assert_eq!(sink.offer(heartbeat()), Ok(()));
        assert_eq!(sink.offer(heartbeat()), Err(NotTaken::Behind));
        drop(answer);
        assert!(sink.is_closed());
        assert_eq!(sink.offer(heartbeat()), Err(NotTaken::Gone));
        assert_eq!(sink.send(heartbeat()), Err(NotTaken::Gone));
    }
}
