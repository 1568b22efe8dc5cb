//! The time that an instance lives by: the system's, or that of a simulated cluster.
//!
//! The runtime asks a [`Clock`] wherever it would ask the system for the time, or wait without
//! asking Kafka. It has it of its [`Cluster`](crate::kafka::Cluster), so that a simulation, which
//! is a cluster of another kind, brings its own time along.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvError, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidemill_topology::time::Timestamp;

/// How often a channel is looked at under a simulated time, which knows nothing of channels.
const LOOK: Duration = Duration::from_millis(1);

/// The time, and the ways to wait for it. Clones tell the same time.
///
/// ```
/// use std::time::Duration;
/// use tidemill::clock::Clock;
///
/// let clock = Clock::System;
/// let started = clock.now();
/// clock.sleep(Duration::from_millis(1));
/// assert!(clock.elapsed(started) >= Duration::from_millis(1));
/// ```
#[derive(Clone, Default)]
pub enum Clock {
    /// The operating system's.
    #[default]
    System,
    /// Another's, which passes when the simulation says so.
    Simulated(Arc<dyn SimulatedTime>),
}

/// A time that is not the system's.
pub trait SimulatedTime: Send + Sync {
    /// A point of the monotonic time.
    fn now(&self) -> Instant;
    /// The wall clock.
    fn wall(&self) -> Timestamp;
    /// Lets others go on until the time has passed.
    fn sleep(&self, time: Duration);
}

impl Clock {
    /// A point of the monotonic time.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Instant {
        match self {
            Self::System => Instant::now(),
            Self::Simulated(time) => time.now(),
        }
    }

    /// What has passed since `earlier`.
    #[inline]
    #[must_use]
    pub fn elapsed(&self, earlier: Instant) -> Duration {
        self.now().saturating_duration_since(earlier)
    }

    /// The wall clock, in milliseconds since the Unix epoch.
    #[inline]
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        match self {
            Self::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp::new(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
            }
            Self::Simulated(time) => time.wall(),
        }
    }

    /// Waits.
    pub fn sleep(&self, time: Duration) {
        match self {
            Self::System => std::thread::sleep(time),
            Self::Simulated(simulated) => simulated.sleep(time),
        }
    }

    /// Waits for what comes through a channel.
    ///
    /// # Errors
    /// When its other end is gone and nothing is left in it.
    pub fn receive<T>(&self, channel: &Receiver<T>) -> Result<T, RecvError> {
        let Self::Simulated(time) = self else { return channel.recv() };
        loop {
            match channel.try_recv() {
                Ok(value) => return Ok(value),
                Err(TryRecvError::Empty) => time.sleep(LOOK),
                Err(TryRecvError::Disconnected) => return Err(RecvError),
            }
        }
    }

    /// As [`receive`](Self::receive), for no longer than `limit`.
    ///
    /// # Errors
    /// `Timeout` when nothing came in time, `Disconnected` when nothing can come any more.
    pub fn receive_within<T>(
        &self,
        channel: &Receiver<T>,
        limit: Duration,
    ) -> Result<T, RecvTimeoutError> {
        let Self::Simulated(time) = self else { return channel.recv_timeout(limit) };
        let started = time.now();
        loop {
            match channel.try_recv() {
                Ok(value) => return Ok(value),
                Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
                Err(TryRecvError::Empty)
                    if time.now().saturating_duration_since(started) >= limit =>
                {
                    return Err(RecvTimeoutError::Timeout);
                }
                Err(TryRecvError::Empty) => time.sleep(LOOK),
            }
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "System",
            Self::Simulated(_) => "Simulated",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    use super::*;

    /// Time that passes while somebody sleeps, and at no other time.
    struct Asleep {
        start: Instant,
        slept: Mutex<Duration>,
    }

    impl SimulatedTime for Asleep {
        fn now(&self) -> Instant {
            self.start + *self.slept.lock().unwrap()
        }
        fn wall(&self) -> Timestamp {
            Timestamp::new(i64::try_from(self.slept.lock().unwrap().as_millis()).unwrap())
        }
        fn sleep(&self, time: Duration) {
            *self.slept.lock().unwrap() += time;
        }
    }

    #[test]
    fn simulated_time_passes_only_when_it_is_told_to() {
        let time = Asleep { start: Instant::now(), slept: Mutex::default() };
        let clock = Clock::Simulated(Arc::new(time));
        let started = clock.now();
        assert_eq!(clock.elapsed(started), Duration::ZERO);
        clock.sleep(Duration::from_secs(3600));
        assert_eq!(clock.elapsed(started), Duration::from_secs(3600));
        assert_eq!(clock.wall(), Timestamp::new(3_600_000));
    }

    #[test]
    fn what_is_in_a_channel_is_received_before_its_end() {
        let time = Asleep { start: Instant::now(), slept: Mutex::default() };
        for clock in [Clock::System, Clock::Simulated(Arc::new(time))] {
            let (sender, receiver) = channel();
            sender.send(7).unwrap();
            drop(sender);
            assert_eq!(clock.receive(&receiver), Ok(7));
            assert_eq!(clock.receive(&receiver), Err(RecvError));
        }
    }

    #[test]
    fn a_channel_is_waited_for_no_longer_than_told() {
        let time = Asleep { start: Instant::now(), slept: Mutex::default() };
        for clock in [Clock::System, Clock::Simulated(Arc::new(time))] {
            let (sender, receiver) = channel();
            let (limit, started) = (Duration::from_millis(3), clock.now());
            let nothing = clock.receive_within::<i32>(&receiver, limit);
            assert_eq!(nothing, Err(RecvTimeoutError::Timeout));
            assert!(clock.elapsed(started) >= limit);
            sender.send(7).unwrap();
            drop(sender);
            assert_eq!(clock.receive_within(&receiver, limit), Ok(7));
            let ended = clock.receive_within(&receiver, limit);
            assert_eq!(ended, Err(RecvTimeoutError::Disconnected));
        }
    }
}
