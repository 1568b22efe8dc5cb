//! What an instance has on its disk is damaged, or is of tasks that left.

use std::fs;
use std::path::{Path, PathBuf};

use tidemill_test_support::patience::wait_for;

use super::words::{LIMIT, Words};

/// The folders of tasks below a state folder, by the task's name.
fn task_folders(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![below.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).into_iter().flatten();
        for path in entries.map(|entry| entry.expect("an entry").path()).filter(|p| p.is_dir()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with("0_") {
                found.push(path);
            } else {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Overwrites a database's list of files with nonsense.
fn damage(task: &Path) {
    let mut folders = vec![task.to_owned()];
    let mut damaged = 0;
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(&folder).expect("a folder").map(|e| e.expect("an entry").path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("MANIFEST"))
            {
                fs::write(&path, b"this is no list of files").expect("a file of our own");
                damaged += 1;
            }
        }
    }
    assert!(damaged > 0, "no database in {}", task.display());
}

#[test]
fn a_damaged_database_is_moved_aside_and_its_task_alone_is_restored_from_the_start() {
    let words = Words::open_on_shared(2);
    let instance = words.start("one");
    words.send(100);
    words.wait_for_counts(100, 1);
    instance.stop();
    let folders = task_folders(&words.state("one"));
    assert_eq!(folders.len(), 2, "{folders:?}");
    damage(&folders[0]);
    let again = words.start("one");
    words.send(100);
    words.wait_for_counts(100, 2);
    let restored =
        |task: &str| again.metric("tidemill_restored_records_total", &format!("task=\"{task}\""));
    assert!(restored("0_0") > 10.0, "{}", restored("0_0"));
    assert_eq!(restored("0_1"), 0.0);
    again.stop();
}

#[test]
fn the_state_of_tasks_that_left_is_removed_after_a_delay() {
    let words = Words::open_on_shared(4);
    let settings = [("state.cleanup.delay.ms", "1000")];
    let first = words.start_with("one", &settings, |_| ());
    words.send(100);
    words.wait_for_counts(100, 1);
    words.wait_until_running(&first);
    assert_eq!(task_folders(&words.state("one")).len(), 4);
    let second = words.start_with("two", &settings, |_| ());
    wait_for("each instance to have the state of its own tasks alone", LIMIT, || {
        let (one, two) = (first.tasks().len(), second.tasks().len());
        let kept = |instance: &str| task_folders(&words.state(instance)).len();
        (one == 2 && two == 2 && kept("one") == 2 && kept("two") == 2).then_some(())
    });
    words.send(100);
    words.wait_for_counts(100, 2);
    second.stop();
    first.stop();
}
