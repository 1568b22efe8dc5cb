//! What happened in a run: the last events as text, and a fingerprint of all of them.

use std::collections::VecDeque;
use std::fmt::{self, Write};

/// How many events are kept as text.
const KEPT: usize = 400;

/// The events of a run, in their order.
#[derive(Debug, Default)]
pub struct Trace {
    recent: VecDeque<String>,
    whole: Option<Vec<String>>,
    hash: u64,
    count: u64,
}

impl Trace {
    /// Keeps every event as text, not only the last.
    #[must_use]
    pub fn whole() -> Self {
        Self { whole: Some(Vec::new()), ..Self::default() }
    }

    pub(crate) fn note(&mut self, at_us: u64, what: fmt::Arguments<'_>) {
        let mut text = if self.recent.len() >= KEPT {
            self.recent.pop_front().unwrap_or_default()
        } else {
            String::new()
        };
        text.clear();
        // Writing to a string cannot fail.
        let _ = write!(text, "{:>12.6} s  {what}", at_us as f64 / 1e6);
        for byte in text.as_bytes() {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.count += 1;
        if let Some(whole) = &mut self.whole {
            whole.push(text.clone());
        }
        self.recent.push_back(text);
    }

    /// The last events, or all of them if they were kept.
    pub fn events(&self) -> impl Iterator<Item = &str> {
        let recent = if self.whole.is_some() { None } else { Some(&self.recent) };
        let recent = recent.into_iter().flatten();
        self.whole.iter().flatten().chain(recent).map(String::as_str)
    }

    /// A fingerprint of all events: two runs with the same one were the same.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.hash
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }
}
