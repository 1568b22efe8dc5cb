//! A store's byte layout as text, kept beside its entries: entries of another layout would be
//! misread, so a store that changed its layout starts empty and is restored.

use tidemill_topology::store::{StoreKind, StoreSpec};

/// The text of a layout. Retention is no part of it, the length of a segment is; nor is a time to
/// live, but that there is one: the order of expiry is kept then.
pub(crate) fn layout_text(spec: &StoreSpec) -> String {
    let kind = kind_text(spec.kind);
    if spec.time_to_live_ms.is_some() { format!("{kind} expiring") } else { kind }
}

fn kind_text(kind: StoreKind) -> String {
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
            kind_text(StoreKind::Window { window_ms: 1, retention_ms, segment_ms })
        };
        assert_eq!(window(10, 5), window(20, 5));
        assert_ne!(window(10, 5), window(10, 6));
        assert_eq!(window(10, 5), "window segment_ms=5");
    }

    #[test]
    fn another_time_to_live_is_the_same_layout_and_none_is_not() {
        let kept = |time_to_live_ms| {
            let spec = StoreSpec::new("a", StoreKind::TimestampedKeyValue);
            layout_text(&StoreSpec { time_to_live_ms, ..spec })
        };
        assert_eq!(kept(Some(1)), kept(Some(2)));
        assert_ne!(kept(Some(1)), kept(None));
    }
}
