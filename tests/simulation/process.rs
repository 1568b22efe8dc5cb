//! Processes: instances of the application that start, are killed, stand still, stop, come back.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidemill::config::Config;
use tidemill::runtime::instance::Instance;
use tidemill::runtime::{RuntimeError, handlers};
use tidemill_topology::graph::Topology;

use crate::client::SimCluster;
use crate::world::{Life, Micros, ProcessId, Sim, World, note};

/// How an application is run.
#[derive(Clone)]
pub struct Setup {
    /// What it does.
    pub topology: Topology,
    /// The configuration of each process.
    pub configs: Vec<Config>,
    /// Where each process has its state.
    pub directories: Vec<PathBuf>,
}

type Ends = Arc<Mutex<Vec<Result<(), RuntimeError>>>>;

/// How long a state updater without work lets others go on.
const IDLE: Micros = 8_000;
/// How often an instance looks after its threads.
const LOOK: Micros = 20_000;

impl World {
    /// Starts a process, unless it runs.
    pub(crate) fn start(&mut self, process: ProcessId, sim: &Sim, setup: Arc<Setup>) {
        let state = self.processes.entry(process).or_default();
        if state.is_alive {
            return;
        }
        state.is_alive = true;
        state.life += 1;
        state.paused_until = 0;
        state.back_after = 1_000_000;
        let life = Life { process, number: state.life };
        note!(self, "{process} starts, life {}", life.number);
        let sim = sim.clone();
        self.births.push((
            life,
            Box::new(move || {
                let result = live(&sim, life, &setup);
                sim.ended(life, &setup, result);
            }),
        ));
    }

    /// Ends a process at once: nothing is finished, what it sent is on its way.
    pub(crate) fn kill(&mut self, process: ProcessId) -> bool {
        let Some(state) = self.processes.get_mut(&process).filter(|state| state.is_alive) else {
            return false;
        };
        state.is_alive = false;
        state.stop = None;
        let life = Life { process, number: state.life };
        note!(self, "{process} is killed");
        self.deaths.push(life);
        true
    }

    /// Tells a process to stop in order.
    pub(crate) fn stop(&mut self, process: ProcessId) {
        let Some(state) = self.processes.get_mut(&process) else { return };
        if let Some(stop) = state.stop.take() {
            stop.store(true, Ordering::Relaxed);
            note!(self, "{process} is told to stop");
        }
    }
}

impl std::fmt::Display for ProcessId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {}", self.0)
    }
}

impl Sim {
    fn ended(&self, life: Life, setup: &Arc<Setup>, result: Result<(), RuntimeError>) {
        let mut world = self.lock();
        let Some(state) = world.processes.get_mut(&life.process) else { return };
        state.is_alive = false;
        state.stop = None;
        let back_after = state.back_after;
        match &result {
            Ok(()) => note!(world, "{} has stopped", life.process),
            Err(error) => {
                note!(world, "{} ended: {error}", life.process);
                if !is_excused(error) {
                    world.violations.push(format!("{} stopped by itself: {error}", life.process));
                }
            }
        }
        let (sim, setup) = (self.clone(), Arc::clone(setup));
        if back_after < Micros::MAX {
            world.after(back_after, move |world| world.start(life.process, &sim, setup));
        }
    }
}

/// Whether an instance may end with this error although nobody told it to.
fn is_excused(error: &RuntimeError) -> bool {
    // Fenced twice by timeouts of its own transactions: it says so, and is started again.
    matches!(error, RuntimeError::DuplicateInstance)
}

/// Names an instance that names itself: a name of its own making would not follow from the seed.
fn name_instance(config: &Config, life: Life) {
    let folder = config.state.dir.join(&config.application_id);
    let file = folder.join("instance.id");
    if !file.exists() {
        let name = format!("p{}-{}\n", life.process.0, life.number);
        // Whatever is wrong with the folder, the instance says it when it starts.
        let _ = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(file, name));
    }
}

fn live(sim: &Sim, life: Life, setup: &Setup) -> Result<(), RuntimeError> {
    let config = &setup.configs[life.process.0];
    if config.instance_id.is_none() {
        name_instance(config, life);
    }
    let cluster = SimCluster::new(sim);
    let instance = Instance::new(cluster, setup.topology.clone(), config, handlers(config))?;
    if let Some(state) = sim.lock().processes.get_mut(&life.process) {
        state.stop = Some(Arc::clone(instance.stop()));
    }
    let Some(plan) = instance.prepare()? else { return Ok(()) };
    let plan = Arc::new(plan);
    let globals = instance.read_globals()?.map(|updater| updater.stores()).unwrap_or_default();
    let ends = Ends::default();
    let threads = config.runtime.threads;
    for number in 0..threads {
        let worker = instance.worker(number, &plan, globals.clone(), None)?;
        let (thread, mut updater) = (worker.thread, worker.updater);
        let (ended, pacer) = (Arc::clone(&ends), sim.clone());
        let mut world = sim.lock();
        world.births.push((
            life,
            Box::new(move || {
                let result = thread.run();
                ended.lock().unwrap_or_else(PoisonError::into_inner).push(result);
            }),
        ));
        world.births.push((
            life,
            Box::new(move || {
                while updater.run_once(Duration::ZERO) {
                    pacer.pass(if updater.is_restoring() { 100 } else { IDLE });
                }
            }),
        ));
    }
    let mut result = Ok(());
    let mut left = threads;
    while left > 0 {
        sim.pass(LOOK);
        let done = std::mem::take(&mut *ends.lock().unwrap_or_else(PoisonError::into_inner));
        for end in done {
            left -= 1;
            if end.is_err() {
                instance.stop().store(true, Ordering::Relaxed);
                result = result.and(end);
            }
        }
    }
    // The updaters see that their threads are gone, and let go of the state directory.
    sim.pass(10 * IDLE);
    result
}
