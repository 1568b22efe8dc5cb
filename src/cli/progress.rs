//! Progress on standard error, only when that is a terminal.

use std::borrow::Cow;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const BAR: &str = "{prefix} {wide_bar} {percent:>3}% {msg} {eta} to go";
const SPINNER: &str = "{prefix} {spinner} {msg} {elapsed}";
/// How often a spinner turns.
const TICK: Duration = Duration::from_millis(200);

/// A bar when the end is known, else a spinner. Hidden when standard error is no terminal;
/// removed when dropped.
pub struct Progress(ProgressBar);

impl Progress {
    /// Progress towards `total`, in any unit, labelled `what`.
    pub fn towards(what: &'static str, total: u64) -> Self {
        Self::with(
            ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr()),
            what,
            BAR,
        )
    }

    /// Progress without a known end.
    pub fn open_ended(what: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.enable_steady_tick(TICK);
        Self::with(bar, what, SPINNER)
    }

    fn with(bar: ProgressBar, what: &'static str, template: &str) -> Self {
        // The templates are constants; a test reads them.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(what);
        Self(bar)
    }

    /// How far it is.
    pub fn set(&self, position: u64) {
        self.0.set_position(position);
    }

    /// What is shown beside the bar, such as a rate.
    pub fn say(&self, words: impl Into<Cow<'static, str>>) {
        self.0.set_message(words);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_understood() {
        for template in [BAR, SPINNER] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
