//! The recorded market data, which is not part of the repository: too large, and not ours.

use std::io::Write;
use std::path::{Path, PathBuf};

/// The folder `name` of the recorded data: below `$TIDEMILL_DATA`, or below `shared/data` beside
/// the clone.
///
/// Where it is absent this gives `None` and says aloud on a line of its own, which the test
/// script counts, that `what` was not run. With `REQUIRE_DATA=1` that is a failure instead.
///
/// # Panics
/// When the data is required and absent.
pub fn recorded(name: &str, what: &str) -> Option<PathBuf> {
    let root = std::env::var_os("TIDEMILL_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let folder = root.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    let sentence = format!("no data: {what} needs {}", folder.display());
    assert!(
        std::env::var("REQUIRE_DATA").as_deref() != Ok("1"),
        "{sentence}, and REQUIRE_DATA=1 says that it must be there"
    );
    // Past the capturing of a passing test's output, which print macros are subject to. One write:
    // other tests print meanwhile.
    let line = format!("\nnot run: {sentence}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("stderr is open");
    None
}
