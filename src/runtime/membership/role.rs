//! The thread of an instance that speaks with the others, outside of the record path.

use std::sync::Arc;
use std::time::Duration;

use super::Membership;
use super::record::MemberRecord;
use crate::kafka::Cluster;
use crate::runtime::error::RuntimeError;
use crate::runtime::observe::Shared;
use crate::runtime::standby::Predecessors;
use crate::runtime::stop::StopSignal;

/// How long others are listened to before this instance looks for news of its own.
const TURN: Duration = Duration::from_millis(50);

/// Tells others what this instance holds, and hears what they hold, until told to stop.
pub struct MembersRole<C, M> {
    /// The way to the others.
    pub membership: M,
    /// Ends what dead instances left open, where this one is to take over soon.
    pub predecessors: Option<Predecessors<C>>,
    /// What this instance shows of itself.
    pub shared: Arc<Shared>,
    /// Set when the instance is told to stop.
    pub stop: Arc<StopSignal>,
    /// Whether it says that it is gone when it stops. One that promises to come back does not.
    pub says_goodbye: bool,
}

impl<C: Cluster, M: Membership> MembersRole<C, M> {
    /// Runs until told to stop.
    ///
    /// # Errors
    /// When the cluster refuses it for good, or when another process has taken this instance's place.
    pub fn run(mut self) -> Result<(), RuntimeError> {
        while !self.stop.is_told() {
            self.run_once(TURN)?;
        }
        if self.says_goodbye {
            self.membership.leave();
        }
        Ok(())
    }

    /// One turn; waits up to `wait` for what others say.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_once(&mut self, wait: Duration) -> Result<(), RuntimeError> {
        let mut own = MemberRecord::new(self.shared.instance_id(), self.shared.started_at_ms());
        own.host = self.shared.host();
        own.threads = self.shared.group_threads();
        own.tasks = self.shared.held_tasks();
        own.standbys = self.shared.standbys();
        self.membership.turn(&own, wait)?;
        if let Some(predecessors) = &mut self.predecessors {
            predecessors.turn(&self.stop);
        }
        Ok(())
    }
}
