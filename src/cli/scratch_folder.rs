//! [`ScratchFolder`]: a folder of this process's own, gone when the command is.

use std::fs;
use std::path::{Path, PathBuf};

use super::failure::Failure;

/// A folder below the system's temporary one, removed when dropped.
#[derive(Debug)]
pub struct ScratchFolder(PathBuf);

impl ScratchFolder {
    /// Makes a folder for `command`, empty.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(command: &str) -> Result<Self, Failure> {
        let name = format!("tidemill-{command}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let what = format!("make the folder {} for local state", path.display());
        // An earlier process of the same number may have been killed before it could clean up.
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Failure::io(what)(error));
            }
            _ => {}
        }
        fs::create_dir_all(&path).map_err(Failure::io(what))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "cannot remove local state");
        }
    }
}
