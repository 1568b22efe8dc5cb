//! Membership: how the instances of an application know of each other, beyond what the group tells.
//!
//! The group says which task is whose, and nothing else. Who holds a copy of a task's state and how
//! fresh it is, and under which address an instance answers queries, instances tell each other.
//!
//! Read in this order: [`record`] (what an instance says of itself), [`view`] (what is known of all),
//! [`topic`] (the compacted topic that carries it), [`role`] (the thread that does). [`Membership`] is the border between them and
//! those who use them: a group protocol in which the broker knows of states and copies can stand in
//! for the topic.

pub mod record;
pub mod role;
pub mod topic;
pub mod view;

use std::time::Duration;

pub use record::{HeldTask, MemberRecord, StandbyCopy};
pub use role::MembersRole;
pub use topic::{MembersSettings, MembersTopic};
pub use view::{Member, MembersView};

use super::error::RuntimeError;

/// A way by which instances tell each other what they hold.
pub trait Membership: Send + 'static {
    /// Says what this instance holds, if that is news or was last said long ago, and takes in what
    /// others said; waits up to `wait` for the latter. What is known lies in the [`MembersView`].
    ///
    /// # Errors
    /// When the cluster refuses it for good, or when another process has taken this instance's place.
    /// A cluster that does not answer is waited for.
    fn turn(&mut self, own: &MemberRecord, wait: Duration) -> Result<(), RuntimeError>;

    /// Says that this instance is gone.
    fn leave(&mut self);
}
