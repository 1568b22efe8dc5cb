//! JSON merge patches ([RFC 7396](https://www.rfc-editor.org/rfc/rfc7396)): what is different in a
//! document now.

use serde_json::{Map, Value};

/// The patch that makes `new` out of `old`; `None` when they are the same. A document that is
/// patched holds no null, for in a patch that takes a member away.
#[must_use]
pub fn between(old: &Value, new: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return (old != new).then(|| new.clone());
    };
    let mut patch = Map::new();
    for (name, value) in new {
        let changed = match old.get(name) {
            Some(before) => between(before, value),
            None => Some(value.clone()),
        };
        if let Some(changed) = changed {
            patch.insert(name.clone(), changed);
        }
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// As the page does it, and as the RFC has it.
    fn apply(target: &mut Value, patch: &Value) {
        let Value::Object(patch) = patch else {
            *target = patch.clone();
            return;
        };
        if !target.is_object() {
            *target = json!({});
        }
        for (name, value) in patch {
            let Some(members) = target.as_object_mut() else { return };
            if value.is_null() {
                members.remove(name);
            } else {
                apply(members.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
    }

    /// Documents without null, of few names, so that two of them have some in common.
    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![(0..3).prop_map(|n| json!(n)), Just(json!("a")), Just(json!([1]))];
        let name = prop_oneof![Just("a".to_owned()), Just("b".to_owned()), Just("c".to_owned())];
        leaf.prop_recursive(3, 24, 3, move |inner| {
            prop::collection::btree_map(name.clone(), inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect()))
        })
    }

    #[test]
    fn only_what_changed_is_in_a_patch() {
        let old = json!({"a": {"x": 1, "y": 2}, "b": [1], "c": 3});
        let new = json!({"a": {"x": 1, "y": 5}, "b": [1], "d": 4});
        assert_eq!(between(&old, &new), Some(json!({"a": {"y": 5}, "c": null, "d": 4})));
        assert_eq!(between(&new, &new), None);
    }

    proptest! {
        #[test]
        fn a_patched_document_is_the_new_one(old in document(), new in document()) {
            let mut patched = old.clone();
            if let Some(patch) = between(&old, &new) {
                apply(&mut patched, &patch);
            }
            prop_assert_eq!(patched, new);
        }
    }
}
