//! A processor under test: started with the environment contract, watched through /proc.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::Common;

/// The topics a processor writes to in a workload.
pub fn output_topics(workload: &str) -> &'static [&'static str] {
    match workload {
        "match" => &["trades", "order-updates"],
        _ => &["out"],
    }
}

/// What a run is called and where its state lives; a restart keeps both.
pub struct Identity {
    pub app_id: String,
    pub state_dir: PathBuf,
    pub log: PathBuf,
}

impl Identity {
    pub fn fresh(common: &Common) -> Result<Self> {
        let millis = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let app_id = format!("{}-{millis}", common.name);
        let state_dir = common.work_dir.join(&app_id);
        fs::create_dir_all(&state_dir).with_context(|| format!("{}", state_dir.display()))?;
        let log = common.work_dir.join(format!("{app_id}.log"));
        Ok(Identity { app_id, state_dir, log })
    }

    pub fn wipe_state(&self) -> Result<()> {
        fs::remove_dir_all(&self.state_dir)?;
        Ok(fs::create_dir_all(&self.state_dir)?)
    }
}

/// CPU and memory of a process and its descendants.
#[derive(Clone, Copy, Default)]
pub struct Usage {
    pub user_s: f64,
    pub sys_s: f64,
    pub peak_rss_mib: f64,
}

impl Usage {
    pub fn cpu_s(&self) -> f64 {
        self.user_s + self.sys_s
    }
}

pub struct Processor {
    child: Child,
    pub started: Instant,
    log: PathBuf,
    restored: Receiver<(Instant, u64)>,
}

impl Processor {
    /// Starts `command`. `orders_topic` is its input.
    pub fn start(
        common: &Common,
        identity: &Identity,
        orders_topic: &str,
        command: &[String],
    ) -> Result<Self> {
        let mut log = File::options().create(true).append(true).open(&identity.log)?;
        let started = Instant::now();
        let mut child = Command::new(&command[0])
            .args(&command[1..])
            .env("APP_ID", &identity.app_id)
            .env("BOOTSTRAP", &common.bootstrap)
            .env("STATE_DIR", &identity.state_dir)
            .env("THREADS", common.threads.to_string())
            .env("GUARANTEE", &common.guarantee)
            .env("WORKLOAD", &common.workload)
            .env("ORDERS_TOPIC", orders_topic)
            .env("ASSETS_TOPIC", "assets")
            .env("OUT_TOPIC", "out")
            .env("TRADES_TOPIC", "trades")
            .env("UPDATES_TOPIC", "order-updates")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.try_clone()?)
            .spawn()
            .with_context(|| format!("starting {}", command[0]))?;
        let stdout = child.stdout.take().expect("a piped stdout");
        let (sender, restored) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let seen = Instant::now();
                if let Some(millis) =
                    line.strip_prefix("RESTORED ").and_then(|text| text.trim().parse().ok())
                {
                    let _ = sender.send((seen, millis));
                }
                let _ = writeln!(log, "{line}");
            }
        });
        Ok(Processor { child, started, log: identity.log.clone(), restored })
    }

    /// Fails when the process is gone or has had its time.
    pub fn check(&mut self, timeout: u64) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the processor ended early ({status}), see {}", self.log.display());
        }
        if self.started.elapsed() > Duration::from_secs(timeout) {
            bail!("not finished after {timeout} s, see {}", self.log.display());
        }
        Ok(())
    }

    /// Waits for the line `RESTORED <millis>`: (seconds from the start as seen from here, and the
    /// processor's own milliseconds).
    pub fn wait_restored(&mut self, timeout: u64) -> Result<(f64, u64)> {
        loop {
            if let Ok((seen, millis)) = self.restored.recv_timeout(Duration::from_millis(20)) {
                return Ok((seen.duration_since(self.started).as_secs_f64(), millis));
            }
            self.check(timeout)?;
        }
    }

    pub fn usage(&self) -> Result<Usage> {
        usage_of(self.child.id())
    }

    /// SIGTERM, and SIGKILL after a minute. Returns the seconds it took to end.
    pub fn stop(mut self) -> Result<f64> {
        let asked = Instant::now();
        // SAFETY: takes two numbers. The child has not been waited for, so its number is still its own.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
        while self.child.try_wait()?.is_none() {
            if asked.elapsed() > Duration::from_secs(60) {
                eprintln!("the processor ignored SIGTERM for a minute; killing it");
                self.child.kill()?;
                self.child.wait()?;
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(asked.elapsed().as_secs_f64())
    }
}

impl Drop for Processor {
    /// Nothing keeps running when a command fails half-way.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Busy CPU seconds of the whole machine since boot: what else ran shows up here.
pub fn machine_cpu_s() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let fields: Vec<f64> = stat
        .lines()
        .next()
        .context("/proc/stat is empty")?
        .split_whitespace()
        .skip(1)
        .map(|field| field.parse().unwrap_or(0.0))
        .collect();
    // user nice system idle iowait irq softirq steal
    Ok([0, 1, 2, 5, 6].iter().map(|&i| fields[i]).sum::<f64>() / ticks_per_s())
}

fn usage_of(root: u32) -> Result<Usage> {
    let stats = all_stats()?;
    let mut family = vec![root];
    let mut next = 0;
    while next < family.len() {
        let parent = family[next];
        family.extend(stats.iter().filter(|(_, stat)| stat.parent == parent).map(|(&pid, _)| pid));
        next += 1;
    }
    let mut usage = Usage::default();
    for pid in family {
        if let Some(stat) = stats.get(&pid) {
            usage.user_s += stat.user_ticks / ticks_per_s();
            usage.sys_s += stat.sys_ticks / ticks_per_s();
            usage.peak_rss_mib += peak_rss_kib(pid).unwrap_or(0.0) / 1024.0;
        }
    }
    Ok(usage)
}

struct Stat {
    parent: u32,
    /// Children that have ended and been waited for are in these.
    user_ticks: f64,
    sys_ticks: f64,
}

fn all_stats() -> Result<HashMap<u32, Stat>> {
    let mut stats = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let Some(pid) =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok())
        else {
            continue;
        };
        if let Some(stat) = read_stat(&path) {
            stats.insert(pid, stat);
        }
    }
    Ok(stats)
}

fn read_stat(process: &Path) -> Option<Stat> {
    let text = fs::read_to_string(process.join("stat")).ok()?;
    // The command's name stands in parentheses and may hold anything; fields are counted after it.
    let fields: Vec<&str> = text[text.rfind(')')? + 2..].split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some(Stat {
        parent: number(1)? as u32,
        user_ticks: number(11)? + number(13)?,
        sys_ticks: number(12)? + number(14)?,
    })
}

fn peak_rss_kib(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn ticks_per_s() -> f64 {
    // SAFETY: takes and gives a number.
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) as f64 }
}
