//! How a consumer ends: it leaves its group if there is time, and is destroyed.

use std::ptr;
use std::thread::Builder;
use std::time::{Duration, Instant};

use rdkafka_sys::bindings::*;
use rdkafka_sys::rd_kafka_resp_err_t as Code;

use super::super::super::border::Consumer;
use super::super::super::error::KafkaError;
use super::super::super::settings::ConsumerRole;
use super::super::callbacks::Stage;
use super::super::codes::{self, check_object};
use super::super::native::{Queue, millis};
use super::LibrdkafkaConsumer;

/// How long a consumer that is dropped without having been closed may take to leave its group.
const LEAVE_ON_DROP: Duration = Duration::from_secs(5);

impl LibrdkafkaConsumer {
    /// See [`Consumer::close`].
    pub(super) fn end(mut self, timeout: Duration, leave: bool) -> Result<(), KafkaError> {
        let deadline = Instant::now() + timeout;
        let ended = match leave && self.is_static() {
            true => self.end_membership(deadline),
            false => Ok(()),
        };
        let left = self.leave(deadline.saturating_duration_since(Instant::now()));
        let closed = ended.and(left);
        if closed.is_err() {
            // What still waits for the group's coordinator keeps librdkafka from destroying the
            // client, until the session's timeout at worst. Nobody has to wait with it.
            let destroyer = Builder::new().name("consumer-end".to_owned());
            if let Err(error) = destroyer.spawn(move || drop(self)) {
                tracing::warn!(%error, "no thread to destroy a consumer; it was destroyed in place");
            }
        }
        closed
    }

    fn is_static(&self) -> bool {
        matches!(self.role, ConsumerRole::Member { group_instance_id: Some(_) })
    }

    /// Ends a static membership: librdkafka never says good-bye for a static member that closes,
    /// but does for one that unsubscribes.
    fn end_membership(&mut self, deadline: Instant) -> Result<(), KafkaError> {
        // SAFETY: no callback runs between calls, and the client is live.
        unsafe {
            (*self.shared.raw()).stage = Stage::Leaving;
            codes::check(rd_kafka_unsubscribe(self.client.raw()), "leave group")?;
        }
        // The member id is given up with the request to leave.
        while self.group_metadata().is_member() && Instant::now() < deadline {
            self.serve_events(&mut Vec::new(), &mut Vec::new());
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Gives everything up and, as a dynamic member, leaves the group.
    fn leave(&mut self, timeout: Duration) -> Result<(), KafkaError> {
        if matches!(self.role, ConsumerRole::Assigned) || std::mem::replace(&mut self.left, true) {
            return Ok(());
        }
        let operation = "close consumer";
        let deadline = Instant::now() + timeout;
        let closing = Queue::new(&self.client);
        // SAFETY: no callback runs between calls; the client and the queue are live, and the
        // queue is served until the consumer is closed or given up.
        unsafe {
            (*self.shared.raw()).stage = Stage::Closing;
            let outcome = rd_kafka_consumer_close_queue(self.client.raw(), closing.raw());
            // Answers a rebalance whose event was handed out before: closing would wait for it for
            // ever. Once closing, this is allowed under the cooperative protocol too. Without such
            // a rebalance the consumer may be closed by now, and librdkafka then drops the call
            // without a reply, for which this thread would wait for ever.
            if (*self.shared.raw()).unanswered {
                rd_kafka_assign(self.client.raw(), ptr::null());
            }
            check_object(outcome, operation)?;
            while rd_kafka_consumer_closed(self.client.raw()) == 0 {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(codes::error(Code::RD_KAFKA_RESP_ERR__TIMED_OUT, operation));
                }
                let step = left.min(Duration::from_millis(100));
                rd_kafka_queue_poll_callback(closing.raw(), millis(step));
            }
        }
        Ok(())
    }
}

impl Drop for LibrdkafkaConsumer {
    fn drop(&mut self) {
        if let Err(error) = self.leave(LEAVE_ON_DROP) {
            tracing::warn!(%error, "a consumer ended without leaving its group");
        }
        self.waker.end(self.events.as_ref());
        self.events = None;
        for tracked in &mut self.partitions {
            tracked.queue = None;
        }
    }
}
