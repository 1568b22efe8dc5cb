//! An application of this program as a process of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidemill::config::{Config, Layers, Settings, Surroundings};
use tidemill::prelude::*;
use tidemill::runtime::Streams;
use tidemill::status::TaskState;

use crate::fleet::READY;

/// What is logged when the number of running tasks or of warm copies changes.
pub const HOLDS: &str = "holds now:";
/// A copy is warm while it is no more than so many records behind.
const WARM_LAG: u64 = 10_000;

/// Makes the topology of an application, given its id.
pub type Declare = fn(&str) -> Result<Topology>;

/// Runs an instance until SIGTERM, configured by `key=value` arguments.
///
/// # Errors
/// Whatever ended it.
pub fn run(
    topology: Declare,
    settings: &[String],
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let layers = settings.iter().filter_map(|setting| setting.split_once('='));
    let layers =
        layers.fold(Layers::new(), |layers, (key, value)| layers.flag("argument", key, value));
    let config = Config::from_settings(&Settings::merge(&layers, &Surroundings::of_process())?)?;
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).init();
    let streams = Streams::start(topology(&config.application_id)?, &config)?;
    let handle = streams.handle();
    let told = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&told))?;
    std::thread::spawn(move || {
        let (mut was_ready, mut held) = (false, (0, 0));
        while !told.load(Ordering::Relaxed) {
            let status = handle.introspect().status();
            if status.ready && !was_ready {
                tracing::info!("{READY}");
            }
            was_ready = status.ready;
            let tasks = status.tasks.iter().filter(|task| task.state == TaskState::Running).count();
            let is_warm = |lag: Option<u64>| lag.is_some_and(|lag| lag < WARM_LAG);
            let warm = status.standbys.iter().filter(|copy| is_warm(copy.lag)).count();
            if std::mem::replace(&mut held, (tasks, warm)) != (tasks, warm) {
                tracing::info!("{HOLDS} tasks={tasks} warm={warm} ");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        handle.stop();
    });
    Ok(streams.join()?)
}
