//! Pages of several parts of a store, merged into one.

use crate::store::bytes::Order;

/// A place between two entries of a store: a page ends there, and the next one begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The bytes of an entry in the store.
    pub stored: Vec<u8>,
    /// The partition whose entry of these bytes was the last; lower ones are done with theirs.
    pub partition: i32,
}

/// Some entries, each with its place, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergedPage<T> {
    /// The entries.
    pub entries: Vec<(Cursor, T)>,
    /// Where the next page begins; `None` when this is the last.
    pub next: Option<Cursor>,
}

impl Cursor {
    /// As text, for a request to go on from here.
    ///
    /// ```
    /// use tidemill_topology::store::merged_pages::Cursor;
    /// let cursor = Cursor { stored: b"key".to_vec(), partition: 3 };
    /// assert_eq!(cursor.to_text(), "3-6b6579");
    /// assert_eq!(Cursor::from_text("3-6b6579"), Some(cursor));
    /// assert_eq!(Cursor::from_text("3-6"), None);
    /// ```
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{}-", self.partition);
        for byte in &self.stored {
            for half in [byte >> 4, byte & 15] {
                text.extend(char::from_digit(u32::from(half), 16));
            }
        }
        text
    }

    /// Reads what [`to_text`](Self::to_text) gave.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let (partition, hex) = text.split_once('-')?;
        let halves: Vec<u8> = hex
            .chars()
            .map(|digit| u8::try_from(digit.to_digit(16)?).ok())
            .collect::<Option<_>>()?;
        let (pairs, []) = halves.as_chunks::<2>() else { return None };
        let stored = pairs.iter().map(|[high, low]| high << 4 | low).collect();
        Some(Self { stored, partition: partition.parse().ok()? })
    }

    fn compare(&self, other: &Self, order: Order) -> std::cmp::Ordering {
        let by_bytes = match order {
            Order::Forward => self.stored.cmp(&other.stored),
            Order::Backward => other.stored.cmp(&self.stored),
        };
        by_bytes.then(self.partition.cmp(&other.partition))
    }
}

impl<T> MergedPage<T> {
    /// At most `limit` entries of these pages, which were all asked the same question.
    #[must_use]
    pub fn of(pages: Vec<Self>, order: Order, limit: usize) -> Self {
        // What lies behind a place that one of them has not looked beyond has to wait.
        let unread = pages.iter().filter_map(|page| page.next.clone());
        let mut next = unread.min_by(|left, right| left.compare(right, order));
        let mut entries: Vec<_> = pages.into_iter().flat_map(|page| page.entries).collect();
        if let Some(end) = &next {
            entries.retain(|(place, _)| place.compare(end, order).is_le());
        }
        entries.sort_by(|(left, _), (right, _)| left.compare(right, order));
        if entries.len() > limit {
            entries.truncate(limit);
            next = entries.last().map(|(place, _)| place.clone());
        }
        Self { entries, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(key: &str, partition: i32) -> Cursor {
        Cursor { stored: key.into(), partition }
    }

    fn page(partition: i32, keys: &[&str], more: bool) -> MergedPage<()> {
        let entries: Vec<_> = keys.iter().map(|key| (place(key, partition), ())).collect();
        let next = entries.last().filter(|_| more).map(|(place, ())| place.clone());
        MergedPage { entries, next }
    }

    fn merged(pages: Vec<MergedPage<()>>, order: Order, limit: usize) -> (String, Option<Cursor>) {
        let merged = MergedPage::of(pages, order, limit);
        let keys = merged.entries.iter().map(|(place, ())| {
            format!("{}{}", String::from_utf8_lossy(&place.stored), place.partition)
        });
        (keys.collect::<Vec<_>>().join(" "), merged.next)
    }

    #[test]
    fn entries_come_in_order_and_those_behind_an_unread_place_wait() {
        let pages = vec![page(0, &["a", "d"], false), page(1, &["b", "d"], true)];
        assert_eq!(merged(pages, Order::Forward, 9), ("a0 b1 d0 d1".into(), Some(place("d", 1))));
        let pages = vec![page(0, &["a", "d"], false), page(1, &["b", "c"], true)];
        assert_eq!(merged(pages, Order::Forward, 9), ("a0 b1 c1".into(), Some(place("c", 1))));
        let pages = vec![page(0, &["d", "a"], false), page(1, &["c", "b"], true)];
        assert_eq!(merged(pages, Order::Backward, 9), ("d0 c1 b1".into(), Some(place("b", 1))));
        let pages = vec![page(0, &["a", "d"], false), page(1, &["b"], false)];
        assert_eq!(merged(pages, Order::Forward, 2), ("a0 b1".into(), Some(place("b", 1))));
        assert_eq!(merged(Vec::new(), Order::Forward, 2), (String::new(), None));
    }
}
