//! The guardian ends what a test program started when that program itself ends, however it ends.
//!
//! A destructor does not run for a static, nor after a SIGKILL. So each test program has one small
//! shell as a child that reads from a pipe. The pipe closes with the test program, whatever
//! happened to it; the shell then kills the processes and deletes the folders it was told of.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};

/// The guardian's whole program: three verbs, a line each, and what to do at the end of them.
/// It ignores the signals of a Ctrl-C, which reach it before the pipe closes.
const PROGRAM: &str = r#"
trap '' INT TERM HUP
pids= ; newline='
'
folders=
while read -r verb what; do
  case $verb in
    watch) pids="$pids $what" ;;
    forget) kept= ; for pid in $pids; do [ "$pid" = "$what" ] || kept="$kept $pid"; done; pids=$kept ;;
    remove) folders="$folders$newline$what" ;;
  esac
done
[ -z "$pids" ] || kill -9 $pids 2> /dev/null
printf '%s\n' "$folders" | while read -r folder; do [ -z "$folder" ] || rm -rf "$folder"; done
"#;

/// Never waited for: it ends after this program, whose end is what it waits for.
static GUARDIAN: LazyLock<Mutex<Child>> = LazyLock::new(|| {
    let shell = Command::new("sh")
        .args(["-c", PROGRAM])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh, to guard the processes of this test program");
    Mutex::new(shell)
});

/// Kills the process with SIGKILL if it is still watched when this program ends.
pub fn watch(child: &Child) {
    tell("watch", &child.id().to_string());
}

/// Stops watching a process that has ended: its number may go to another one.
pub fn forget(child: &Child) {
    tell("forget", &child.id().to_string());
}

/// Deletes the folder when this program ends, should it still exist.
pub fn remove_at_end(folder: &Path) {
    tell("remove", &folder.display().to_string());
}

fn tell(verb: &str, what: &str) {
    // A test that panicked with the lock held has written its whole line or none of it.
    let mut guardian = GUARDIAN.lock().unwrap_or_else(PoisonError::into_inner);
    let pipe = guardian.stdin.as_mut().expect("its input was asked to be a pipe");
    writeln!(pipe, "{verb} {what}").expect("the guardian lives as long as this program");
}

/// Sends a signal, named as `kill` names it ("TERM", "STOP", "CONT"), to a child that has not been
/// waited for.
pub(crate) fn signal(child: &Child, name: &str) {
    let command = format!("kill -{name} {}", child.id());
    let status = Command::new("sh").args(["-c", &command]).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "`{command}` failed: the process ended before it was told to"
    );
}
