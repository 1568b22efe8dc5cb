//! A store's byte layout as text, kept beside its entries: entries of another layout would be
//! misread, so a store that changed its layout starts empty and is restored.

use tidemill_topology::store::StoreKind;

/// The text of a layout. Retention is no part of it, the length of a segment is.
pub(crate) fn layout_text(kind: StoreKind) -> String {
    match kind {
        StoreKind::KeyValue => "key-value".to_owned(),
        StoreKind::TimestampedKeyValue => "timestamped-key-value".to_owned(),
        StoreKind::Window { segment_ms, .. } => format!("window segment_ms={segment_ms}"),
        StoreKind::TimestampedWindow { segment_ms, .. } => {
            format!("timestamped-window segment_ms={segment_ms}")
        }
        StoreKind::Session { segment_ms, .. } => format!("session segment_ms={segment_ms}"),
        StoreKind::Versioned { .. } => "versioned".to_owned(),
        // A kind that is new here: every detail of it counts, at worst the store is restored.
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_retention_is_the_same_layout_and_another_segment_is_not() {
        let window = |retention_ms, segment_ms| {
            layout_text(StoreKind::Window { window_ms: 1, retention_ms, segment_ms })
        };
        assert_eq!(window(10, 5), window(20, 5));
        assert_ne!(window(10, 5), window(10, 6));
        assert_eq!(window(10, 5), "window segment_ms=5");
    }
}
