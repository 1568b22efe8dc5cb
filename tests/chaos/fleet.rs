//! The instances of one application: processes that are started, killed, frozen and watched.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tidemill_test_support::Tidemill;

/// What an instance of this program logs when all its tasks run.
pub const READY: &str = "every task runs";
/// Longer than anything takes that is not measured.
const LIMIT: Duration = Duration::from_secs(120);
/// Lines of a log that tell how it ended.
const LAST_LINES: usize = 60;
/// How long a zombie may take to see that its name is another's.
const YIELDS: Duration = Duration::from_secs(60);

/// Which program an instance runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `tidemill run`.
    Exchange,
    /// This program, as an instance of [`pairs`](crate::pairs).
    Pairs,
    /// This program, as an instance of [`join`](crate::join)'s application.
    Ballast,
}

/// This program as an instance of one of its applications.
fn own(application: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("our own path"));
    command.args(["instance", application]);
    command
}

/// One instance, by its name. It is the same instance through all its processes.
pub struct Instance {
    name: String,
    program: Program,
    settings: BTreeMap<String, String>,
    /// Holds its state and its log.
    folder: PathBuf,
    /// Counts its state folders: a replacement cannot have the one of the process it replaces.
    home: u32,
    process: Option<Tidemill>,
    /// How its processes ended that nobody had told to.
    ended: Vec<String>,
}

impl Instance {
    /// An instance that does not run yet, in a folder of its own below `folder`.
    pub fn new(
        name: String,
        program: Program,
        mut settings: BTreeMap<String, String>,
        folder: &Path,
    ) -> Self {
        settings.insert("instance.id".to_owned(), name.clone());
        let folder = folder.join(&name);
        fs::create_dir_all(&folder).expect("a folder below a temporary one");
        Self { name, program, settings, folder, home: 0, process: None, ended: Vec::new() }
    }

    /// Its name, which is also its `instance.id`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How its processes ended that nobody had told to end.
    pub fn ended_by_itself(&self) -> &[String] {
        &self.ended
    }

    /// The lines of its process's log that contain `words`.
    pub fn log_lines(&self, words: &str) -> usize {
        self.lines_with(&[words]).len()
    }

    /// The lines of its process's log that contain one of these.
    pub fn lines_with(&self, words: &[&str]) -> Vec<String> {
        let log = self.process.as_ref().map(Tidemill::log).unwrap_or_default();
        let lines = log.lines().filter(|line| words.iter().any(|words| line.contains(words)));
        lines.map(str::to_owned).collect()
    }

    /// The last line of its process's log that contains `words`.
    pub fn last_line(&self, words: &str) -> String {
        self.lines_with(&[words]).pop().unwrap_or_default()
    }

    /// The last lines that its process has logged.
    pub fn last_words(&self) -> String {
        let log = self.process.as_ref().map(Tidemill::log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }

    /// Starts a process.
    pub fn start(&mut self) {
        let mut command = match self.program {
            Program::Exchange => Command::new(env!("CARGO_BIN_EXE_tidemill")),
            Program::Pairs => own("pairs"),
            Program::Ballast => own("ballast"),
        };
        let state = ("state.dir".to_owned(), self.state().display().to_string());
        for (key, value) in self.settings.iter().chain([(&state.0, &state.1)]) {
            if self.program == Program::Exchange {
                command.arg("--set");
            }
            command.arg(format!("{key}={value}"));
        }
        if self.program == Program::Exchange {
            command.arg("run");
        }
        self.process = Some(Tidemill::spawn(&mut command));
    }

    fn state(&self) -> PathBuf {
        self.folder.join(format!("state-{}", self.home))
    }

    fn process(&mut self) -> &mut Tidemill {
        let name = &self.name;
        self.process.as_mut().unwrap_or_else(|| panic!("{name} does not run"))
    }

    /// Waits until all its tasks run.
    pub fn wait_ready(&mut self) {
        match self.program {
            Program::Exchange => {
                let address = self.address();
                self.process().wait_for_http(&address, "/readyz", 200, LIMIT);
            }
            Program::Pairs | Program::Ballast => {
                self.process().wait_for_log(READY, LIMIT);
            }
        }
    }

    /// Where the exchange serves HTTP.
    pub fn address(&mut self) -> String {
        let line = self.process().wait_for_log("serving HTTP", LIMIT);
        let address = line.rsplit("address=").next().unwrap_or_default();
        address.split_whitespace().next().unwrap_or_default().to_owned()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process().kill();
        self.file_log();
    }

    /// SIGTERM; it must end in order. Says how long that took.
    pub fn stop(&mut self) -> Duration {
        let started = Instant::now();
        let status = self.process().terminate(LIMIT);
        if !status.success() {
            self.note_end(&format!("told to stop, it ended with {status}"));
        }
        self.file_log();
        started.elapsed()
    }

    /// Deletes the state of an instance that does not run.
    pub fn wipe(&mut self) {
        assert!(self.process.is_none(), "{} runs", self.name);
        // It may have been killed before it had any.
        let _ = fs::remove_dir_all(self.state());
    }

    /// SIGSTOP.
    pub fn freeze(&mut self) {
        self.process().signal("STOP");
    }

    /// SIGCONT.
    pub fn thaw(&mut self) {
        self.process().signal("CONT");
    }

    /// Starts a process of the same name while the frozen one still exists, and wakes that one: it hears
    /// that it was replaced, and ends by itself. Where other faults keep that from it, the one ends that
    /// the group refuses too often.
    pub fn replace(&mut self) {
        let mut woken = self.process.take().expect("a frozen process");
        let old_home = self.home;
        self.home += 1;
        self.start();
        self.wait_ready();
        woken.signal("CONT");
        let since = Instant::now();
        while since.elapsed() < YIELDS {
            if let Some(status) = woken.exit_status() {
                println!("replaced: the older process of {} ends with {status}", self.name);
                self.keep(&woken.log());
                return;
            }
            if self.process().exit_status().is_some() {
                self.file_log();
                self.home = old_home;
                self.process = Some(woken);
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        self.keep(&woken.log());
        self.note_end(&format!("two of that name still run after {} s", YIELDS.as_secs()));
    }

    /// Whether its process ended by itself; that is noted, and the next one started.
    pub fn look_after(&mut self) {
        let Some(process) = &mut self.process else { return };
        let Some(status) = process.exit_status() else { return };
        let log = process.log();
        let last = log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        self.note_end(&format!("{status}: {last}"));
        self.file_log();
        self.start();
    }

    fn note_end(&mut self, how: &str) {
        println!("!! {}: {how}", self.name);
        self.ended.push(format!("{}: {how}", self.name));
    }

    /// Keeps the log of a process that has ended.
    fn file_log(&mut self) {
        if let Some(process) = self.process.take() {
            self.keep(&process.log());
        }
    }

    fn keep(&self, log: &str) {
        let path = self.folder.join("log");
        let file = File::options().create(true).append(true).open(path);
        let mut file = file.expect("a file in a folder of our own");
        file.write_all(log.as_bytes()).expect("room for a log");
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
    }
}

/// Stops all of them in order.
pub fn stop_all(instances: &mut [Instance]) {
    for instance in instances {
        instance.look_after();
        instance.stop();
    }
}
