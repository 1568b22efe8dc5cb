//! Waiting for a condition with a limit, so that a test fails with a sentence and never hangs.

use std::time::{Duration, Instant};

/// Asks `probe` every few milliseconds until it gives something.
///
/// # Panics
/// After `limit`, naming `what` was awaited.
pub fn wait_for<T>(what: &str, limit: Duration, probe: impl FnMut() -> Option<T>) -> T {
    let found = wait_up_to(limit, probe);
    found.unwrap_or_else(|| panic!("waited {} s for {what}", limit.as_secs_f32()))
}

/// As [`wait_for`], for who has more to say when it takes too long: `None` after `limit`.
pub fn wait_up_to<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if started.elapsed() >= limit {
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
