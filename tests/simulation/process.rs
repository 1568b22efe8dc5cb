//! Processes: instances of the application that start, are killed, stand still, stop, come back.

use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidemill::clock::SimulatedTime;
use tidemill::config::Config;
use tidemill::runtime::global::GlobalStores;
use tidemill::runtime::instance::{Instance, Standbys};
use tidemill::runtime::plan::Plan;
use tidemill::runtime::restore::Work;
use tidemill::runtime::stop::{FINISHING, LEAVING, STOPPING, StopSignal};
use tidemill::runtime::{RuntimeError, handlers};
use tidemill_topology::graph::Topology;

use crate::client::SimCluster;
use crate::world::{Life, Micros, ProcessId, Sim, World, micros, note};

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
/// As much for a thread that keeps copies, which reads what has come meanwhile.
const COPY_IDLE: Micros = 25_000;
/// What a thread may need beyond its time: turns that are under way.
const SLACK: Duration = Duration::from_millis(500);
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
        state.told = None;
        (state.at_join, state.at_send) = (None, None);
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
        let (now, instant) = (self.now, self.instant());
        let Some(state) = self.processes.get_mut(&process) else { return };
        if let Some(stop) = state.stop.take() {
            stop.tell(instant);
            state.told = Some(now.max(state.paused_until));
            note!(self, "{process} is told to stop");
        }
    }

    /// Lets a process stand still until a time.
    pub(crate) fn pause(&mut self, process: ProcessId, until: Micros) {
        let now = self.now;
        let Some(state) = self.processes.get_mut(&process) else { return };
        let since = state.paused_until.max(now);
        state.paused_until = until.max(state.paused_until);
        // What it stands still does not count as time that it takes to stop.
        if let Some(told) = &mut state.told {
            *told += until.saturating_sub(since);
        }
    }

    /// Lets a process reach no broker until a time.
    pub(crate) fn cut(&mut self, process: ProcessId, until: Micros) {
        if let Some(state) = self.processes.get_mut(&process) {
            state.cut_until = state.cut_until.max(until);
        }
    }

    /// A part of a process has ended: that may not take longer than `limit` after it was told to.
    fn check_stop(&mut self, process: ProcessId, part: &str, limit: Duration) {
        let Some(told) = self.processes.get(&process).and_then(|state| state.told) else { return };
        let took = self.now.saturating_sub(told);
        if took > micros(limit) {
            let seconds = took as f64 / 1e6;
            self.violations.push(format!("{process}: {part} took {seconds:.1} s to stop"));
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
        // With the process ends what it did not wait for.
        world.deaths.push(life);
        match &result {
            Ok(()) => note!(world, "{} has stopped", life.process),
            Err(error) => {
                note!(world, "{} ended: {error}", life.process);
                world.violations.push(format!("{} stopped by itself: {error}", life.process));
            }
        }
        let (sim, setup) = (self.clone(), Arc::clone(setup));
        if back_after < Micros::MAX {
            world.after(back_after, move |world| world.start(life.process, &sim, setup));
        }
    }
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

/// The threads of a process, and how they end.
struct Parts {
    sim: Sim,
    life: Life,
    stop: Arc<StopSignal>,
    started: usize,
    ends: Ends,
}

impl Parts {
    fn new(sim: &Sim, life: Life, stop: &Arc<StopSignal>) -> Self {
        let (sim, stop) = (sim.clone(), Arc::clone(stop));
        Self { sim, life, stop, started: 0, ends: Ends::default() }
    }

    /// Starts a thread that nobody waits for.
    fn start_aside(&self, run: impl FnOnce() + Send + 'static) {
        self.sim.lock().births.push((self.life, Box::new(run)));
    }

    /// Starts a thread, which may take no longer than `limit` to stop.
    fn start(
        &mut self,
        name: &'static str,
        limit: Duration,
        run: impl FnOnce() -> Result<(), RuntimeError> + Send + 'static,
    ) {
        let (ends, sim, process) = (Arc::clone(&self.ends), self.sim.clone(), self.life.process);
        self.started += 1;
        self.start_aside(move || {
            let result = run();
            sim.lock().check_stop(process, name, limit);
            ends.lock().unwrap_or_else(PoisonError::into_inner).push(result);
        });
    }

    /// Waits for all threads that were started. When one fails, the others are told to stop.
    fn wait(mut self, mut result: Result<(), RuntimeError>) -> Result<(), RuntimeError> {
        if result.is_err() {
            self.stop.tell(self.sim.now());
        }
        while self.started > 0 {
            self.sim.pass(LOOK);
            let done =
                std::mem::take(&mut *self.ends.lock().unwrap_or_else(PoisonError::into_inner));
            for end in done {
                self.started -= 1;
                if end.is_err() {
                    self.stop.tell(self.sim.now());
                    result = result.and(end);
                }
            }
        }
        // The updaters see that their threads are gone, and let go of the state directory.
        self.sim.pass(10 * IDLE);
        result
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
    let mut parts = Parts::new(sim, life, instance.stop());
    let result = start_parts(&instance, &Arc::new(plan), &mut parts);
    parts.wait(result)
}

/// Starts what an instance consists of, as its control thread does.
fn start_parts(
    instance: &Instance<SimCluster>,
    plan: &Arc<Plan>,
    parts: &mut Parts,
) -> Result<(), RuntimeError> {
    let copies = if instance.config().state.standby_replicas == 0 {
        // Nobody else reads what the others say.
        None
    } else {
        let members = instance.members();
        parts.start("the thread that speaks with others", STOPPING, move || members.run());
        start_copies(instance, plan, parts)?
    };
    for number in 0..instance.config().runtime.threads {
        let worker = instance.worker(number, plan, GlobalStores::default(), copies.clone())?;
        let (thread, mut updater) = (worker.thread, worker.updater);
        parts.start("a stream thread", FINISHING + LEAVING + SLACK, move || thread.run());
        let pacer = parts.sim.clone();
        parts.start_aside(move || {
            while updater.run_once(Duration::ZERO) {
                pacer.pass(if updater.is_restoring() { 100 } else { IDLE });
            }
        });
    }
    Ok(())
}

/// Starts what keeps copies, and waits until it is warm if the instance is to be before it joins.
fn start_copies(
    instance: &Instance<SimCluster>,
    plan: &Arc<Plan>,
    parts: &mut Parts,
) -> Result<Option<Sender<Work>>, RuntimeError> {
    let warms_up = instance.warms_up()?;
    let Some(Standbys { mut updater, copies }) = instance.standbys(plan)? else { return Ok(None) };
    let (pacer, stop) = (parts.sim.clone(), Arc::clone(instance.stop()));
    parts.start("the thread that keeps copies", STOPPING, move || {
        while !stop.is_told() {
            updater.run_once(Duration::ZERO);
            pacer.pass(COPY_IDLE);
        }
        Ok(())
    });
    if warms_up {
        instance.wait_until_warm(plan);
    }
    Ok(Some(copies))
}
