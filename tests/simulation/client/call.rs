//! A call that waits for a broker's answer, over a network that loses and delays.
//!
//! A lost request is sent again after the connection is back; so is one whose answer was lost,
//! although it took effect. When the time is up the outcome is unknown: what is on its way may
//! still arrive.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidemill::kafka::{ErrorClass, KafkaError};

use crate::world::{Micros, Sim, World, micros, note};

/// A broker's answer to a request.
pub(crate) enum Reply<T> {
    /// This is it.
    Done(Result<T, KafkaError>),
    /// Ask again after a while; what for, if there is no time for that.
    Again(Micros, KafkaError),
}

type Request<T> = Arc<dyn Fn(&mut World) -> Reply<T> + Send + Sync>;
type Slot<T> = Arc<Mutex<Option<Reply<T>>>>;

/// What a broker may refuse in passing, to be asked again: calls that change nothing, but for the
/// deletion of what nobody needs. The client library repeats the others itself until their time is up.
const REFUSABLE: [&str; 6] = [
    "list offsets",
    "fetch committed offsets",
    "describe topics",
    "list topics",
    "describe group",
    "delete records",
];

/// The error of a call that a broker has refused in passing.
fn refusal(operation: &'static str) -> KafkaError {
    let (class, code) = (ErrorClass::Retriable, "NOT_LEADER_FOR_PARTITION");
    KafkaError::new(class, code, operation, "refused in passing")
}

/// The error of a call whose outcome is unknown.
pub(crate) fn timed_out(operation: &'static str) -> KafkaError {
    KafkaError::new(ErrorClass::TimedOut, "_TIMED_OUT", operation, "no answer in time")
}

impl Sim {
    /// Asks a broker, and waits for its answer.
    pub(crate) fn call<T: Send + 'static>(
        &self,
        broker: usize,
        timeout: Duration,
        operation: &'static str,
        request: impl Fn(&mut World) -> Reply<T> + Send + Sync + 'static,
    ) -> Result<T, KafkaError> {
        let request: Request<T> = Arc::new(request);
        let deadline = self.lock().now + micros(timeout);
        loop {
            let slot: Slot<T> = Arc::default();
            let Some(given_up) = self.send(broker, deadline, operation, &request, &slot) else {
                return Err(timed_out(operation));
            };
            let mut reply = None;
            while reply.is_none() && self.lock().now < given_up.min(deadline) {
                self.wait_until(given_up.min(deadline));
                reply = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
            }
            match reply {
                Some(Reply::Done(result)) => return result,
                Some(Reply::Again(wait, error)) => {
                    if self.lock().now + wait >= deadline {
                        self.note(format_args!("{operation}: no time left: {error}"));
                        let left = deadline.saturating_sub(self.lock().now);
                        self.pass(left);
                        return Err(timed_out(operation));
                    }
                    self.pass(wait);
                }
                None if self.lock().now >= deadline => {
                    self.note(format_args!("{operation}: timed out"));
                    return Err(timed_out(operation));
                }
                None => {}
            }
        }
    }

    /// Sends a request once, and says when it is given up for lost; `None` outside of a process.
    fn send<T: Send + 'static>(
        &self,
        broker: usize,
        deadline: Micros,
        operation: &'static str,
        request: &Request<T>,
        slot: &Slot<T>,
    ) -> Option<Micros> {
        let mut world = self.lock();
        let Some((actor, life)) = world.current.zip(world.current_life()) else {
            drop(world);
            Self::end_if_gone();
            return None;
        };
        let arrival = world.arrival(life.process, broker);
        let late = arrival > deadline && world.random.chance(500);
        let lost = world.weather.lost_requests;
        let lost = late || world.random.chance(lost);
        let unanswered = world.weather.lost_answers;
        let unanswered = world.random.chance(unanswered);
        let refused = world.weather.refused;
        let refused = REFUSABLE.contains(&operation) && world.random.chance(refused);
        if lost || unanswered {
            let what = if lost { "request" } else { "answer" };
            note!(world, "{:?}: the {what} of {operation} is lost", life.process);
        }
        if !lost {
            let (request, slot) = (Arc::clone(request), Arc::clone(slot));
            world.at(arrival, move |world| {
                let reply = if refused {
                    note!(world, "{operation} is refused in passing");
                    Reply::Done(Err(refusal(operation)))
                } else {
                    request(world)
                };
                if unanswered {
                    return;
                }
                let at = world.now + world.latency();
                world.within(life, at, move |world| {
                    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(reply);
                    world.wake(actor);
                });
            });
        }
        let given_up = if lost || unanswered {
            arrival + world.random.between(200_000, 1_500_000)
        } else {
            Micros::MAX
        };
        Some(given_up)
    }
}
