//! Ends a consumer's waiting poll: for other threads, and for events of its main queue.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka_sys::bindings::{rd_kafka_queue_cb_event_enable, rd_kafka_queue_yield, rd_kafka_t};

use super::super::border::Waker;
use super::native::Queue;

/// Ends a poll of its consumer. See [`Waker`].
#[derive(Clone, Debug)]
pub struct ConsumerWaker(Arc<WakeTarget>);

#[derive(Debug)]
struct WakeTarget {
    /// Set by `wake`: the wake-up of a queue can be used up by a read that does not wait.
    woken: AtomicBool,
    /// The records' queue; taken away when the consumer ends.
    queue: Mutex<Option<Arc<Queue>>>,
}

impl ConsumerWaker {
    pub(super) fn new(records: Arc<Queue>) -> Self {
        Self(Arc::new(WakeTarget {
            woken: AtomicBool::new(false),
            queue: Mutex::new(Some(records)),
        }))
    }

    /// Wakes for everything that arrives in `events` too, until [`ConsumerWaker::end`].
    pub(super) fn watch(&self, events: &Queue) {
        let target = Arc::as_ptr(&self.0).cast_mut().cast();
        // SAFETY: the queue is live. The target stays so until `end`, which the consumer calls
        // while it still holds this waker.
        unsafe { rd_kafka_queue_cb_event_enable(events.raw(), Some(event_arrived), target) };
    }

    /// Whether `wake` was called since the last time this was asked.
    pub(super) fn was_woken(&self) -> bool {
        self.0.woken.swap(false, Ordering::AcqRel)
    }

    /// Lets go of both queues: the consumer ends.
    pub(super) fn end(&self, events: Option<&Queue>) {
        if let Some(events) = events {
            // SAFETY: the queue is live. After this the callback is not called any more.
            unsafe { rd_kafka_queue_cb_event_enable(events.raw(), None, ptr::null_mut()) };
        }
        *self.0.queue.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl WakeTarget {
    fn interrupt(&self) {
        if let Some(queue) = self.queue.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            // SAFETY: the queue is live while the lock is held.
            unsafe { rd_kafka_queue_yield(queue.raw()) };
        }
    }
}

impl Waker for ConsumerWaker {
    fn wake(&self) {
        self.0.woken.store(true, Ordering::Release);
        self.0.interrupt();
    }
}

/// librdkafka's notice that the main queue is not empty any more; from any of its threads.
unsafe extern "C" fn event_arrived(_client: *mut rd_kafka_t, target: *mut c_void) {
    // SAFETY: the target is alive until `ConsumerWaker::end` has disabled this callback.
    unsafe { &*target.cast::<WakeTarget>() }.interrupt();
}
