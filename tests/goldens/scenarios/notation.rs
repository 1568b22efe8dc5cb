//! The small functions that the scenarios' topologies are written with.

use tidemill::prelude::*;

/// A key or value that may be null.
pub type Text = Option<String>;
/// The serde of [`Text`].
pub const TEXT: Nullable<Utf8> = Nullable(Utf8);

/// How every topic is read.
pub fn consumed() -> Consumed<Text, Text> {
    Consumed::with(TEXT, TEXT)
}

/// How every topic is written.
pub fn produced() -> Produced<Text, Text> {
    Produced::with(TEXT, TEXT)
}

/// How every stream is grouped.
pub fn grouped() -> Grouped<Text, Text> {
    Grouped::with(TEXT, TEXT)
}

/// The text, or "null".
pub fn s(text: &Text) -> &str {
    text.as_deref().unwrap_or("null")
}

/// The text as an integer, -1 for null.
pub fn n(text: &Text) -> i64 {
    text.as_ref().map_or(-1, |text| text.parse().expect("a number"))
}

/// Whether there is an even number.
pub fn even(text: &Text) -> bool {
    text.is_some() && n(text) % 2 == 0
}

/// `n(v) % 4` numbered copies; none of null.
pub fn copies(text: &Text) -> Vec<String> {
    let count = if text.is_some() { n(text) % 4 } else { 0 };
    (0..count).map(|at| format!("{}#{at}", s(text))).collect()
}

/// The last 20 characters.
pub fn cut(text: &str) -> String {
    let start = text.char_indices().rev().nth(19).map_or(0, |(at, _)| at);
    text[start..].to_owned()
}
