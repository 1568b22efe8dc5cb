//! Sending what waits at once, and waiting until it is delivered.

use std::time::Duration;

use rdkafka_sys::bindings::*;
use rdkafka_sys::rd_kafka_resp_err_t as Code;

use super::native::{Client, millis};

/// How long one step takes at most.
const SLICE: Duration = Duration::from_millis(1);

/// One wait for deliveries, in steps of a millisecond.
///
/// In steps: within one call librdkafka looks every ten milliseconds whether all is delivered,
/// unless a delivery report wakes it, and successes may have none. It flushes in no more steps than it
/// must: meanwhile librdkafka's thread spins on whatever partition has as many requests under way as
/// it may. Full batches it sends without a flush, so while something is delivered step by step there
/// is no need for one; when nothing was, what is left may be less than a batch, or of a partition
/// that has only now joined the transaction.
#[derive(Debug, Default)]
pub(super) struct Drain {
    /// Records that were not delivered yet after the last step.
    waiting: usize,
    /// Whether the next step waits without a flush.
    rests: bool,
}

impl Drain {
    /// One step: `_TIMED_OUT` while something is not delivered. Delivery callbacks run meanwhile, on
    /// this thread.
    pub(super) fn step(&mut self, client: &Client) -> Code {
        if !self.rests {
            // SAFETY: the client is live.
            let code = unsafe { rd_kafka_flush(client.raw(), millis(SLICE)) };
            (self.waiting, self.rests) = (client.in_flight(), true);
            return code;
        }
        // SAFETY: the client is live.
        unsafe { rd_kafka_poll(client.raw(), millis(SLICE)) };
        let waiting = client.in_flight();
        self.rests = waiting < self.waiting;
        self.waiting = waiting;
        match waiting {
            0 => Code::RD_KAFKA_RESP_ERR_NO_ERROR,
            _ => Code::RD_KAFKA_RESP_ERR__TIMED_OUT,
        }
    }
}
