//! The one transactional call that librdkafka does not bound, made on a thread of its own.
//!
//! `rd_kafka_send_offsets_to_transaction` waits without a limit for an answer that may never come:
//! when a broker leaves the cluster's metadata, librdkafka gives up what was under way to it, and
//! the handler of `TxnOffsetCommit` (rdkafka_txnmgr.c, 2.12.1) then ends without telling the caller.
//! So the caller waits here, as long as it likes, and the call may be left behind: its thread and its
//! client then stay until it returns, if ever.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use rdkafka_sys::bindings::*;

use super::super::error::{ErrorClass, KafkaError};
use super::super::group::GroupMetadata;
use super::super::partition::Committed;
use super::codes::check_transactional;
use super::native::{GroupIdentity, PartitionList, millis};
use super::producer::Handle;

const OPERATION: &str = "send offsets to transaction";

/// A call, with all that it takes.
struct Call {
    client: Arc<Handle>,
    offsets: PartitionList,
    group: GroupIdentity,
    timeout: Duration,
}

/// Makes a producer's calls, one at a time.
#[derive(Debug, Default)]
pub(super) struct OffsetsCalls {
    thread: Option<Caller>,
    is_under_way: bool,
}

/// The thread; it ends when this is dropped and its call has returned.
#[derive(Debug)]
struct Caller {
    calls: Sender<Call>,
    outcomes: Receiver<Result<(), KafkaError>>,
}

impl OffsetsCalls {
    /// Begins a call, unless one is under way: that is the one to wait for then.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn begin(
        &mut self,
        client: &Arc<Handle>,
        offsets: &[Committed],
        group: &GroupMetadata,
        timeout: Duration,
    ) -> Result<(), KafkaError> {
        if self.is_under_way {
            return Ok(());
        }
        let (offsets, group) = (PartitionList::of_commits(offsets)?, GroupIdentity::new(group)?);
        let call = Call { client: Arc::clone(client), offsets, group, timeout };
        let thread = match self.thread.take() {
            Some(thread) => thread,
            None => Caller::start()?,
        };
        self.thread.insert(thread).calls.send(call).map_err(|_| died())?;
        self.is_under_way = true;
        Ok(())
    }

    /// The outcome, if it comes within `timeout`.
    pub(super) fn outcome(&mut self, timeout: Duration) -> Option<Result<(), KafkaError>> {
        let answer = self.thread.as_ref().map(|caller| caller.outcomes.recv_timeout(timeout));
        let outcome = match answer {
            Some(Ok(outcome)) => outcome,
            Some(Err(RecvTimeoutError::Timeout)) => return None,
            Some(Err(RecvTimeoutError::Disconnected)) | None => Err(died()),
        };
        self.is_under_way = false;
        Some(outcome)
    }

    /// Forgets the outcome of a call that was given up.
    ///
    /// # Errors
    /// While it is still under way: the producer can do nothing else, and is to be replaced.
    pub(super) fn settle(&mut self) -> Result<(), KafkaError> {
        if !self.is_under_way {
            return Ok(());
        }
        // Whatever it is: who gave it up has dropped the transaction.
        self.outcome(Duration::ZERO).map(drop).ok_or_else(unanswered)
    }
}

impl Caller {
    fn start() -> Result<Self, KafkaError> {
        let (calls, waiting) = channel::<Call>();
        let (told, outcomes) = channel();
        let run = move || {
            for call in waiting {
                let outcome = call.make();
                if told.send(outcome).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("offsets".to_owned()).spawn(run).map_err(|error| {
            let text = format!("no thread for it: {error}");
            KafkaError::new(ErrorClass::Other, "_FAIL", OPERATION, text)
        })?;
        Ok(Self { calls, outcomes })
    }
}

impl Call {
    /// Lets go of the client before the outcome is told: whoever waits for that may end the client.
    fn make(self) -> Result<(), KafkaError> {
        // SAFETY: everything passed is live; librdkafka copies it, and serves no callback meanwhile.
        unsafe {
            let outcome = rd_kafka_send_offsets_to_transaction(
                self.client.raw(),
                self.offsets.raw(),
                self.group.raw(),
                millis(self.timeout),
            );
            check_transactional(outcome, OPERATION)
        }
    }
}

/// What a call that takes too long comes to.
pub(super) fn unanswered() -> KafkaError {
    let text = "librdkafka has not answered yet; a new producer ends the transaction if it goes on";
    KafkaError::new(ErrorClass::TimedOut, "_TIMED_OUT", OPERATION, text)
}

fn died() -> KafkaError {
    let text = "the thread that calls librdkafka is gone";
    KafkaError::new(ErrorClass::Fatal, "_FAIL", OPERATION, text)
}
