//! One run: everything about it follows from its seed.
//!
//! 1. The processes start, inputs come, faults happen, for some twenty virtual seconds.
//! 2. The faults end. Every process runs again, and all that is left must be done within a bound.
//! 3. The processes stop in order, and the checks are made.

use std::path::Path;
use std::sync::Arc;

use tidemill::config::Config;
use tidemill::kafka::{NewTopic, TopicPartition};
use tidemill::mistake::Mistake;
use tidemill_topology::partition::by_key;
use tidemill_topology::record::Headers;
use tidemill_topology::time::Timestamp;

use crate::check::Checked;
use crate::client::Timing;
use crate::cluster::log::Data;
use crate::faults;
use crate::process::Setup;
use crate::random::Random;
use crate::scenario::{Input, SCENARIOS, Scenario};
use crate::scheduler::Scheduler;
use crate::trace::Trace;
use crate::world::{Micros, ProcessId, START_MS, Sim, Weather, World, note};

const SECOND: Micros = 1_000_000;
/// When the faults end.
const QUIET: Micros = 20 * SECOND;
/// How long what is left may take then: an outage that began last, a session, a transaction that
/// has to time out, a restore and a rollback, each with its patience.
const BOUND: Micros = 150 * SECOND;
/// How long stopping may take.
const STOPPING: Micros = 90 * SECOND;
const APPLICATION: &str = "app";
/// Ids of the producers that write inputs in transactions; far from those of the application.
const FEEDERS: u64 = 1 << 40;

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The one with this name; any if it is not said.
    pub scenario: Option<String>,
    /// A mistake that the runtime is to make.
    pub mistake: Mistake,
    /// Keeps every event of the run.
    pub whole_trace: bool,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// Its scenario.
    pub scenario: &'static str,
    /// How it was laid out.
    pub layout: String,
    /// What happened.
    pub trace: Trace,
    /// What must not have happened; empty if all was well.
    pub violations: Vec<String>,
    /// Whether tasks had no owner until the group rebalanced once more.
    pub orphaned: bool,
    /// How long it took, in virtual time.
    pub virtual_time: Micros,
}

/// Runs a seed, with its state below a folder that is there and empty.
///
/// # Panics
/// When the folder cannot be used.
#[must_use]
pub fn run(seed: u64, options: &Options, folder: &Path) -> Outcome {
    let mut random = Random::new(seed);
    let named =
        options.scenario.as_ref().and_then(|name| SCENARIOS.iter().find(|s| s.name == name));
    let drawn = random.index(SCENARIOS.len());
    let scenario = *named.unwrap_or(&SCENARIOS[drawn]);
    let layout = Layout::draw(&mut random);
    let setup = Arc::new(layout.setup(&scenario, folder));
    let trace = if options.whole_trace { Trace::whole() } else { Trace::default() };
    let mut world = World::new(seed, trace, options.mistake);
    world.weather = layout.weather;
    world.clients.timing = layout.timing;
    for topic in scenario.topics {
        // Each topic is there once.
        let _ = world.brokers.create(&NewTopic::new(*topic, layout.partitions));
    }
    let sim = Sim::new(world);
    let mut scheduler = Scheduler::new(sim.clone());
    plan(&sim, &setup, &scenario, &layout, &mut random);
    scheduler.run_until(QUIET);
    {
        let mut world = sim.lock();
        world.weather = Weather::default();
        for process in world.processes.values_mut() {
            (process.at_join, process.at_send) = (None, None);
        }
        note!(world, "the faults are over");
    }
    let about = |world: &World, what: &dyn Fn(&Checked<'_>) -> Result<(), String>| {
        what(&Checked {
            application_id: APPLICATION,
            topology: &setup.topology,
            scenario: &scenario,
            brokers: &world.brokers,
        })
    };
    let is_done = |checked: &Checked<'_>| checked.unfinished().map_or(Ok(()), Err);
    let mut done = Err(String::new());
    let mut at = QUIET;
    let mut orphaned = false;
    while done.is_err() && at < QUIET + BOUND {
        at += SECOND / 2;
        scheduler.run_until(at);
        let mut world = sim.lock();
        if at == QUIET + BOUND / 2 {
            orphaned = world.rebalance_orphans(APPLICATION);
        }
        let all_run = world.processes.values().all(|process| process.is_alive);
        done = if all_run { about(&world, &is_done) } else { Err("a process is away".to_owned()) };
        if !world.violations.is_empty() {
            break;
        }
    }
    stop_all(&sim, &mut scheduler, at);
    let mut world = sim.lock();
    let mut violations = std::mem::take(&mut world.violations);
    match done {
        Err(why) if violations.is_empty() => violations.push(format!(
            "not done {} s after the faults were over: {why}",
            (at - QUIET) / SECOND
        )),
        _ => {}
    }
    if violations.is_empty() {
        violations.extend(about(&world, &|checked| checked.outputs()).err());
        for directory in &setup.directories {
            violations.extend(about(&world, &|checked| checked.state(directory)).err());
        }
    }
    let trace = std::mem::take(&mut world.trace);
    let virtual_time = world.now;
    drop(world);
    Outcome {
        seed,
        scenario: scenario.name,
        layout: layout.to_string(),
        trace,
        violations,
        orphaned,
        virtual_time,
    }
}

/// Puts inputs and faults where they belong in time.
fn plan(sim: &Sim, setup: &Arc<Setup>, scenario: &Scenario, layout: &Layout, random: &mut Random) {
    let starter = sim.clone();
    for process in 0..layout.processes {
        let (sim, setup) = (sim.clone(), Arc::clone(setup));
        let at = random.between(0, SECOND);
        let start = move |world: &mut World| world.start(ProcessId(process), &sim, setup);
        starter.lock().at(at, start);
    }
    let mut world = sim.lock();
    let mut number = 0;
    while number < layout.inputs {
        let count = random.between(1, 8).min(layout.inputs - number);
        let inputs: Vec<Input> =
            (number..number + count).map(|number| (scenario.input)(random, number)).collect();
        number += count;
        let at = random.between(0, QUIET - SECOND);
        let open = layout.fed_in_transactions.then(|| random.between(1_000, 1_500_000));
        let (aborts, feeder) = (random.chance(250), FEEDERS + number);
        world.at(at, move |world| feed(world, &inputs, open, aborts, feeder));
    }
    for (at, fault) in faults::plan(random, layout.processes, SECOND, QUIET - SECOND) {
        let (sim, setup) = (sim.clone(), Arc::clone(setup));
        world.at(at, move |world| faults::strike(world, fault, &sim, &setup));
    }
}

/// Writes inputs; in a transaction of their own if it is to stay open for a while.
fn feed(world: &mut World, inputs: &[Input], open: Option<Micros>, aborts: bool, feeder: u64) {
    let mut touched = std::collections::BTreeSet::new();
    for input in inputs {
        let count = world.brokers.partitions(input.topic).len();
        let number = by_key(input.key.as_bytes(), i32::try_from(count).unwrap_or(1));
        let partition = TopicPartition::new(input.topic, number);
        let data = Data {
            key: Some(input.key.clone().into_bytes()),
            value: input.value.clone().map(String::into_bytes),
            timestamp: Timestamp::new(START_MS + input.at_ms),
            headers: Headers::new(),
        };
        if let Some(log) = world.brokers.log_mut(&partition) {
            log.append(&[Arc::new(data)], open.map(|_| (feeder, 0)));
        }
        world.grown(&partition);
        touched.insert(partition);
    }
    if let Some(open) = open {
        world.after(open, move |world| {
            for partition in touched {
                if let Some(log) = world.brokers.log_mut(&partition) {
                    log.mark(feeder, 0, !aborts);
                }
                world.grown(&partition);
            }
        });
    }
}

fn stop_all(sim: &Sim, scheduler: &mut Scheduler, from: Micros) {
    {
        let mut world = sim.lock();
        for process in world.processes.values_mut() {
            process.back_after = Micros::MAX;
        }
        for process in world.processes.keys().copied().collect::<Vec<_>>() {
            world.stop(process);
        }
    }
    let mut at = from;
    while at < from + STOPPING && sim.lock().processes.values().any(|process| process.is_alive) {
        at += SECOND / 4;
        scheduler.run_until(at);
    }
    let alive: Vec<ProcessId> = {
        let world = sim.lock();
        let alive = world.processes.iter().filter(|(_, process)| process.is_alive);
        alive.map(|(id, _)| *id).collect()
    };
    let mut world = sim.lock();
    for process in alive {
        world.violations.push(format!("{process} did not stop"));
        world.kill(process);
    }
    drop(world);
    scheduler.run_until(at);
}

/// How a run is laid out.
#[derive(Debug)]
struct Layout {
    processes: usize,
    threads: usize,
    partitions: i32,
    inputs: u64,
    commit_ms: u64,
    flush_ms: u64,
    poll_records: u64,
    named: bool,
    /// Copies of each task.
    copies: usize,
    /// Whether an instance joins only when it is warm.
    warm: bool,
    fed_in_transactions: bool,
    purge_ms: u64,
    cache_bytes: u64,
    /// Records of a partition that a task holds, at most.
    buffered: u64,
    /// How long a task waits for the partitions that have no record.
    idle_ms: u64,
    weather: Weather,
    timing: Timing,
}

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} instances x {} threads, {} partitions, {} copies, commit {} ms, flush {} ms, {} records a poll",
            self.processes,
            self.threads,
            self.partitions,
            self.copies,
            self.commit_ms,
            self.flush_ms,
            self.poll_records
        )
    }
}

impl Layout {
    fn draw(random: &mut Random) -> Self {
        Self {
            processes: 1 + random.index(3),
            threads: 1 + random.index(2),
            partitions: 1 + i32::try_from(random.below(4)).unwrap_or(0),
            inputs: random.between(60, 240),
            commit_ms: random.between(30, 600),
            flush_ms: if random.chance(400) { 0 } else { random.between(100, 5_000) },
            poll_records: random.between(1, 60),
            named: random.chance(500),
            copies: usize::from(random.chance(300)),
            warm: random.chance(500),
            fed_in_transactions: random.chance(300),
            weather: Weather {
                lost_requests: random.below(6),
                lost_answers: random.below(10),
                refused: random.below(10),
                slow: random.below(30),
                slow_records: random.below(4),
                slow_markers: random.below(60),
                astray: random.below(3),
            },
            purge_ms: if random.chance(300) { 30_000 } else { random.between(200, 4_000) },
            cache_bytes: if random.chance(500) { 10 << 20 } else { random.below(2_000) },
            buffered: if random.chance(500) { 1_000 } else { random.between(1, 30) },
            idle_ms: if random.chance(700) { 0 } else { random.between(10, 1_000) },
            timing: Timing::default(),
        }
    }

    fn setup(&self, scenario: &Scenario, folder: &Path) -> Setup {
        let directories: Vec<_> =
            (0..self.processes).map(|number| folder.join(format!("p{number}"))).collect();
        let config = |number: usize| {
            let directory = directories[number].display();
            let name =
                if self.named { format!("instance.id = \"i{number}\"\n") } else { String::new() };
            let text = format!(
                "application.id = \"{APPLICATION}\"\nbootstrap.servers = \"simulated:9092\"\n\
                 {name}state.dir = \"{directory}\"\nthreads = {}\ncommit.interval.ms = {}\n\
                 state.flush.interval.ms = {}\nmax.poll.records = {}\nstate.memory.bytes = \"8 MiB\"\n\
                 standby.replicas = {}\njoin.when.warm = {}\npurge.interval.ms = {}\n\
                 statestore.cache.max.bytes = {}\nbuffered.records.per.partition = {}\n\
                 max.task.idle.ms = {}\n",
                self.threads,
                self.commit_ms,
                self.flush_ms,
                self.poll_records,
                self.copies,
                self.warm && self.copies > 0,
                self.purge_ms,
                self.cache_bytes,
                self.buffered,
                self.idle_ms
            );
            Config::from_toml("simulation", &text).expect("a sound configuration")
        };
        let configs = (0..self.processes).map(config).collect();
        Setup { topology: (scenario.topology)(), configs, directories }
    }
}
