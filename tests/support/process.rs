//! The `tidemill` program as a child process: started, watched, killed.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::guardian;
use crate::patience::wait_for;

/// A running `tidemill`; dropping it kills it.
///
/// ```ignore
/// let program = env!("CARGO_BIN_EXE_tidemill");
/// let instance = Tidemill::spawn(Command::new(program).args(["run", "--config", path]));
/// instance.wait_for_log("running", Duration::from_secs(10));
/// ```
pub struct Tidemill {
    child: Child,
    /// stdout and stderr, as they come.
    log: NamedTempFile,
    /// Set once it has been waited for: the number of the process is no longer ours.
    status: Option<ExitStatus>,
}

impl Tidemill {
    /// Starts a command with its output going to a log and nothing on its standard input.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(command: &mut Command) -> Self {
        let log = NamedTempFile::with_prefix("tidemill-log-").expect("a temporary file");
        let output = || File::options().append(true).open(log.path()).expect("our own log");
        let child = command
            .stdin(Stdio::null())
            .stdout(output())
            .stderr(output())
            .spawn()
            .unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
        guardian::watch(&child);
        Tidemill { child, log, status: None }
    }

    /// Everything it has written so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log.path()).unwrap_or_default()).into_owned()
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that contains `words` and gives that line.
    ///
    /// # Panics
    /// After `limit`, or when the process ends before, with its log.
    pub fn wait_for_log(&mut self, words: &str, limit: Duration) -> String {
        self.wait_for_any_log(&[words], limit)
    }

    /// The same for a line that contains any of several words.
    ///
    /// # Panics
    /// As [`wait_for_log`](Self::wait_for_log).
    pub fn wait_for_any_log(&mut self, words: &[&str], limit: Duration) -> String {
        let one_of = words.join("` or `");
        self.watch_until(&format!("the words `{one_of}` in the log"), limit, |instance| {
            let log = instance.log();
            let mut lines = log.lines();
            lines.find(|line| words.iter().any(|words| line.contains(words))).map(str::to_owned)
        })
    }

    /// Waits until `GET path` at `address` (`127.0.0.1:9464`) answers with `status`; gives the body.
    ///
    /// # Panics
    /// After `limit`, or when the process ends before, with its log.
    pub fn wait_for_http(
        &mut self,
        address: &str,
        path: &str,
        status: u16,
        limit: Duration,
    ) -> String {
        self.watch_until(&format!("{status} from http://{address}{path}"), limit, |_| {
            let (found, body) = http_get(address, path).ok()?;
            (found == status).then_some(body)
        })
    }

    /// Polls `probe` while the process runs.
    fn watch_until<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut probe: impl FnMut(&Self) -> Option<T>,
    ) -> T {
        wait_for(what, limit, || {
            // Asked first: what it wrote before it ended counts.
            let ended = self.exit_status();
            let found = probe(self);
            assert!(
                found.is_some() || ended.is_none(),
                "the process ended ({ended:?}) before {what}:\n{}",
                self.log()
            );
            found
        })
    }

    /// How it ended; `None` while it runs.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("a child of this process");
            if self.status.is_some() {
                guardian::forget(&self.child);
            }
        }
        self.status
    }

    /// Waits for the process to end by itself.
    ///
    /// # Panics
    /// After `limit`, with its log.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("process {} to end", self.id());
        wait_for(&what, limit, || self.exit_status())
    }

    /// SIGTERM, then waits for the end.
    ///
    /// # Panics
    /// When it has ended before, or takes longer than `limit`.
    pub fn terminate(&mut self, limit: Duration) -> ExitStatus {
        self.signal("TERM");
        self.wait(limit)
    }

    /// SIGKILL: no destructor runs, nothing is flushed. Gives once the process is gone.
    pub fn kill(&mut self) {
        if self.exit_status().is_none() {
            // An error means that it ended this very moment.
            let _ = self.child.kill();
            self.status = Some(self.child.wait().expect("a child of this process"));
            guardian::forget(&self.child);
        }
    }

    /// Sends a signal named as `kill` names it: "STOP", "CONT", "INT".
    ///
    /// # Panics
    /// When the process has ended.
    pub fn signal(&mut self, name: &str) {
        assert!(self.exit_status().is_none(), "the process has ended:\n{}", self.log());
        guardian::signal(&self.child, name);
    }
}

impl Drop for Tidemill {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            // The harness shows what a failed test printed.
            eprintln!("the log of {}:\n{}", self.child.id(), self.log());
        }
    }
}

/// What a program that ran to its end left behind.
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Runs a command to its end with `input` on its standard input.
///
/// # Panics
/// When it cannot be started or takes longer than `limit`.
pub fn run_to_end(command: &mut Command, input: &[u8], limit: Duration) -> Finished {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str| folder.path().join(name);
    let create = |path: &Path| File::create(path).expect("a file in a folder of our own");
    // Files instead of pipes: neither side ever waits for the other.
    fs::write(file("in"), input).expect("a file in a folder of our own");
    let mut child = command
        .stdin(File::open(file("in")).expect("the file just written"))
        .stdout(create(&file("out")))
        .stderr(create(&file("err")))
        .spawn()
        .unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
    guardian::watch(&child);
    let read = |name: &str| {
        String::from_utf8_lossy(&fs::read(file(name)).unwrap_or_default()).into_owned()
    };
    let what = format!("{command:?} to end");
    let status = wait_for(&what, limit, || child.try_wait().expect("a child of this process"));
    guardian::forget(&child);
    Finished { status, stdout: read("out"), stderr: read("err") }
}

/// `GET path` over a connection of its own: the status and the body.
///
/// # Errors
/// When nothing listens there, or the answer is not HTTP.
pub fn http_get(address: &str, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    // HTTP/1.0: the answer comes in one piece and ends with the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let malformed = || std::io::Error::other(format!("not an answer of HTTP: {answer:.80}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(malformed)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(malformed)?;
    Ok((status, body.to_owned()))
}
