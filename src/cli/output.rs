//! Standard output. Its reader may go away at any time, which is not a panic.

use std::io::{self, Write};

use serde::Serialize;

use super::failure::Failure;

/// Writes `text` to standard output, as it is.
///
/// # Errors
/// When it cannot be written; a reader that went away ends the command in peace.
pub fn write(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(Failure::io("write to standard output"))
}

/// Writes a value to standard output as indented JSON.
///
/// # Errors
/// As [`write`].
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(Failure::failed)?;
    write(&format!("{text}\n"))
}
