//! The state directory of an application, `<state.dir>/<application.id>/`.
//!
//! | name | holds |
//! |---|---|
//! | `lock` | the lock of the process, and its id for the message that others get |
//! | `format-version` | the version of everything here, as decimal text |
//! | `instance.id` | the name of this instance, made once and kept, so that a restart is known to the group |
//! | `0_3/` | the database of task `0_3` |
//! | `0_3.corrupt-1/` | a damaged one that was moved aside |
//!
//! One process at a time may use it, and within that one thread a task.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fs::{self, File, TryLockError};
use std::hash::{BuildHasher, Hasher};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Result, StateError};

/// The format written by this release.
const FORMAT_VERSION: u32 = 1;

/// The state directory, locked for this process as long as it or a task of it lives.
#[derive(Clone, Debug)]
pub struct StateDirectory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    instance_id: String,
    opened: Instant,
    tasks: Mutex<Tasks>,
    /// Closing the file releases the lock, also when the process is killed.
    _lock: File,
}

#[derive(Debug, Default)]
struct Tasks {
    /// Tasks that are open, and since when those that were have been closed.
    closed_since: HashMap<String, Option<Instant>>,
}

/// The directory of a task, for whoever holds this; dropping it lets others have it.
#[derive(Debug)]
pub struct TaskDirectory {
    directory: Arc<Inner>,
    task: String,
    path: PathBuf,
}

impl StateDirectory {
    /// Takes the directory of an application below `root`, creating what is missing.
    ///
    /// # Errors
    /// When another process uses it, a newer release wrote it, or it cannot be written.
    pub fn open(root: &Path, application_id: &str) -> Result<Self> {
        check_name(application_id)?;
        let path = root.join(application_id);
        fs::create_dir_all(&path).map_err(StateError::io("create", &path))?;
        let lock = lock(&path)?;
        check_format(&path.join("format-version"))?;
        let instance_id = instance_id(&path.join("instance.id"))?;
        Ok(Self(Arc::new(Inner {
            path,
            instance_id,
            opened: Instant::now(),
            tasks: Mutex::default(),
            _lock: lock,
        })))
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The name of this instance: 32 hexadecimal digits, the same at each start.
    #[must_use]
    pub fn instance_id(&self) -> &str {
        &self.0.instance_id
    }

    /// Takes the directory of a task, creating it if it is missing.
    ///
    /// # Errors
    /// When it is still open, which is worth another try, or cannot be created.
    pub fn open_task(&self, task: &str) -> Result<TaskDirectory> {
        check_name(task)?;
        let path = self.0.path.join(task);
        let mut tasks = self.0.tasks();
        if let Some(None) = tasks.closed_since.get(task) {
            return Err(StateError::TaskInUse { task: task.to_owned(), directory: path });
        }
        fs::create_dir_all(&path).map_err(StateError::io("create", &path))?;
        tasks.closed_since.insert(task.to_owned(), None);
        drop(tasks);
        Ok(TaskDirectory { directory: Arc::clone(&self.0), task: task.to_owned(), path })
    }

    /// The tasks that have a directory here, in the order of their names.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn tasks(&self) -> Result<Vec<String>> {
        let mut tasks = Vec::new();
        for entry in fs::read_dir(&self.0.path).map_err(StateError::io("read", &self.0.path))? {
            let entry = entry.map_err(StateError::io("read", &self.0.path))?;
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if let Some(name) =
                entry.file_name().to_str().filter(|name| is_directory && is_task(name))
            {
                tasks.push(name.to_owned());
            }
        }
        tasks.sort_unstable();
        Ok(tasks)
    }

    /// Removes the directories of tasks that nobody has had open for `delay`, and returns their
    /// names. A task that was not open since the start counts from there.
    ///
    /// # Errors
    /// When one of them cannot be removed.
    pub fn remove_unused(&self, delay: Duration) -> Result<Vec<String>> {
        let mut removed = Vec::new();
        for task in self.tasks()? {
            let mut tasks = self.0.tasks();
            let closed = match tasks.closed_since.get(&task) {
                Some(None) => continue,
                Some(Some(since)) => *since,
                None => self.0.opened,
            };
            if closed.elapsed() >= delay {
                let path = self.0.path.join(&task);
                // Under the lock, so that nobody opens the task meanwhile.
                fs::remove_dir_all(&path).map_err(StateError::io("remove", &path))?;
                tasks.closed_since.remove(&task);
                removed.push(task);
            }
        }
        Ok(removed)
    }
}

impl Inner {
    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        // Nothing done under the lock can leave the map half changed.
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TaskDirectory {
    /// The task.
    #[must_use]
    pub fn task(&self) -> &str {
        &self.task
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Moves a damaged database aside, to `<task>.corrupt-<n>`, and leaves an empty directory.
    /// Returns where the damaged one is.
    ///
    /// # Errors
    /// When it cannot be moved.
    pub fn set_aside(&self) -> Result<PathBuf> {
        let name =
            |number: u32| self.path.with_file_name(format!("{}.corrupt-{number}", self.task));
        let aside = (1..).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(0));
        fs::rename(&self.path, &aside).map_err(StateError::io("move aside", &self.path))?;
        fs::create_dir_all(&self.path).map_err(StateError::io("create", &self.path))?;
        Ok(aside)
    }
}

impl Drop for TaskDirectory {
    fn drop(&mut self) {
        self.directory.tasks().closed_since.insert(self.task.clone(), Some(Instant::now()));
    }
}

/// Whether a name is that of a task's directory: subtopology and partition.
fn is_task(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name.split_once('_').is_some_and(|(left, right)| is_number(left) && is_number(right))
}

fn check_name(name: &str) -> Result {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || name.starts_with('.') || !name.bytes().all(is_plain) {
        return Err(StateError::Name { name: name.to_owned() });
    }
    Ok(())
}

fn lock(directory: &Path) -> Result<File> {
    let path = directory.join("lock");
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(StateError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Only for the message: whoever holds the lock may be about to write its id.
            let _ = file.read_to_string(&mut holder);
            let holder = holder.trim();
            let holder = if holder.is_empty() { "(unknown)" } else { holder };
            return Err(StateError::DirectoryInUse {
                directory: directory.to_owned(),
                holder: holder.to_owned(),
            });
        }
        Err(TryLockError::Error(cause)) => {
            return Err(StateError::Io { action: "lock", path, cause });
        }
    }
    let written = file
        .set_len(0)
        .and_then(|()| file.seek(SeekFrom::Start(0)))
        .and_then(|_| writeln!(file, "{}", std::process::id()));
    written.map_err(StateError::io("write", &path))?;
    Ok(file)
}

fn check_format(file: &Path) -> Result {
    let Some(found) = read(file)? else {
        return write_whole(file, &format!("{FORMAT_VERSION}\n"));
    };
    match found.trim().parse::<u32>() {
        Ok(version) if version <= FORMAT_VERSION => Ok(()),
        _ => Err(StateError::NewerFormat {
            file: file.to_owned(),
            found: found.trim().to_owned(),
            known: FORMAT_VERSION,
        }),
    }
}

fn instance_id(file: &Path) -> Result<String> {
    if let Some(id) = read(file)?
        && !id.trim().is_empty()
    {
        return Ok(id.trim().to_owned());
    }
    // The standard library's hash seeds are random, which is all that is asked of a name.
    let random = || RandomState::new().build_hasher().finish();
    let id = format!("{:016x}{:016x}", random(), random());
    write_whole(file, &format!("{id}\n"))?;
    Ok(id)
}

fn read(file: &Path) -> Result<Option<String>> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(StateError::io("read", file)(cause)),
    }
}

/// Writes a file that a crash leaves whole or absent.
fn write_whole(file: &Path, text: &str) -> Result {
    let new = file.with_extension("new");
    let written = File::create(&new).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(StateError::io("write", &new))?;
    fs::rename(&new, file).map_err(StateError::io("write", file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_told_who_has_it() {
        let root = tempfile::tempdir().unwrap();
        let first = StateDirectory::open(root.path(), "app").unwrap();
        let error = StateDirectory::open(root.path(), "app").unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        assert!(error.contains("state.dir"), "{error}");
        drop(first);
        StateDirectory::open(root.path(), "app").unwrap();
    }

    #[test]
    fn the_instance_id_is_made_once_and_differs_between_directories() {
        let root = tempfile::tempdir().unwrap();
        let id = |app| StateDirectory::open(root.path(), app).unwrap().instance_id().to_owned();
        let first = id("a");
        assert_eq!(first.len(), 32);
        assert_eq!(id("a"), first);
        assert_ne!(id("b"), first);
    }

    #[test]
    fn a_newer_format_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = StateDirectory::open(root.path(), "app").unwrap().path().join("format-version");
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
        fs::write(&path, "2\n").unwrap();
        let error = StateDirectory::open(root.path(), "app").unwrap_err();
        assert!(matches!(error, StateError::NewerFormat { .. }), "{error}");
    }

    #[test]
    fn a_task_has_one_holder_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let directory = StateDirectory::open(root.path(), "app").unwrap();
        let task = directory.open_task("0_3").unwrap();
        let error = directory.open_task("0_3").unwrap_err();
        assert!(error.is_retriable(), "{error}");
        directory.open_task("0_4").unwrap();
        drop(task);
        directory.open_task("0_3").unwrap();
    }

    #[test]
    fn only_closed_tasks_are_removed_and_only_after_the_delay() {
        let root = tempfile::tempdir().unwrap();
        let directory = StateDirectory::open(root.path(), "app").unwrap();
        let open = directory.open_task("0_0").unwrap();
        drop(directory.open_task("0_1").unwrap());
        fs::create_dir(directory.path().join("1_0")).unwrap();
        fs::create_dir(directory.path().join("other")).unwrap();
        assert_eq!(directory.remove_unused(Duration::from_secs(60)).unwrap(), Vec::<String>::new());
        assert_eq!(directory.remove_unused(Duration::ZERO).unwrap(), ["0_1", "1_0"]);
        assert_eq!(directory.tasks().unwrap(), ["0_0"]);
        assert!(directory.path().join("other").exists());
        drop(open);
    }

    #[test]
    fn a_damaged_task_is_moved_aside_and_kept() {
        let root = tempfile::tempdir().unwrap();
        let directory = StateDirectory::open(root.path(), "app").unwrap();
        let task = directory.open_task("0_0").unwrap();
        fs::write(task.path().join("CURRENT"), "x").unwrap();
        assert!(task.set_aside().unwrap().ends_with("0_0.corrupt-1"));
        assert!(task.set_aside().unwrap().ends_with("0_0.corrupt-2"));
        assert!(directory.path().join("0_0.corrupt-1/CURRENT").exists());
        assert!(task.path().is_dir());
        assert_eq!(directory.tasks().unwrap(), ["0_0"]);
    }

    #[test]
    fn names_that_would_leave_the_directory_are_refused() {
        let root = tempfile::tempdir().unwrap();
        for name in ["", "..", "a/b", ".hidden"] {
            assert!(StateDirectory::open(root.path(), name).is_err(), "{name:?}");
        }
    }
}
