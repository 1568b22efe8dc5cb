//! A store's changelog in a local run: counted always, kept where a restart is to be possible.

use tidemill_topology::store::spec::ChangelogEntry;
use tidemill_topology::time::Timestamp;

struct Logged {
    key: Box<[u8]>,
    value: Option<Box<[u8]>>,
    timestamp: Timestamp,
}

/// The records of a changelog. What was appended since the last commit is not yet part of it.
#[derive(Default)]
pub(crate) struct Changelog {
    kept: Option<Vec<Logged>>,
    next: i64,
    committed: i64,
}

impl Changelog {
    /// An empty one that keeps its records, or only counts them.
    pub(crate) fn new(keeps: bool) -> Self {
        Self { kept: keeps.then(Vec::new), ..Self::default() }
    }

    pub(crate) fn append(&mut self, entry: ChangelogEntry<'_>) {
        self.next += 1;
        if let Some(kept) = &mut self.kept {
            let ChangelogEntry { key, value, timestamp } = entry;
            kept.push(Logged { key: key.into(), value: value.map(Into::into), timestamp });
        }
    }

    /// Declares what was appended as committed; the offset behind it.
    pub(crate) fn commit(&mut self) -> i64 {
        self.committed = self.next;
        self.next
    }

    /// Drops what was appended since the last commit.
    pub(crate) fn abort(&mut self) {
        self.next = self.committed;
        if let Some(kept) = &mut self.kept {
            kept.truncate(usize::try_from(self.committed).unwrap_or(usize::MAX));
        }
    }

    /// The offset behind the last committed record.
    pub(crate) fn end(&self) -> i64 {
        self.committed
    }

    /// The committed records from an offset on.
    pub(crate) fn from(&self, offset: i64) -> impl Iterator<Item = ChangelogEntry<'_>> {
        let kept = self.kept.as_deref().unwrap_or_default();
        kept.iter().skip(usize::try_from(offset).unwrap_or(0)).map(|logged| ChangelogEntry {
            key: &logged.key,
            value: logged.value.as_deref(),
            timestamp: logged.timestamp,
        })
    }
}
