//! Mistakes that the runtime makes on purpose, so that a simulation can prove that it sees them.
//!
//! A cluster says which ([`Cluster::mistake`](crate::kafka::Cluster::mistake)). A real one makes
//! none, which is known when it is compiled: nothing of a mistake is left in the program.

/// A mistake to make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mistake {
    /// None.
    #[default]
    None,
    /// Commit step 6 before step 5: what may yet be aborted goes to the stores' engines.
    AppliesBeforeCommit,
    /// Commit step 4 without looking at the identity.
    TrustsIdentity,
    /// A restored task begins at its committed offset, as if nothing of the pack there were done.
    ForgetsPartOfPack,
    /// An offset out of range means lost records, even where a successor went on and purged them.
    TakesPurgedForLost,
    /// A partition that stands still although its log goes on is not fetched anew.
    NeverFetchesAnew,
}
