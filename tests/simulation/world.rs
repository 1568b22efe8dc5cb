//! The simulated world: its time, what is due in it, its processes, and the one way to change it.
//!
//! Everything that happens is an entry of one queue, in the order of virtual time: an action (a
//! request that arrives at a broker, an answer that arrives at a client, a fault), or a coroutine
//! that goes on. Between two entries no time passes; nothing runs at the same time as anything
//! else. All chance comes from one generator, so the seed decides the whole run.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidemill::clock::SimulatedTime;
use tidemill::runtime::stop::StopSignal;
use tidemill_topology::time::Timestamp;

use crate::client::Clients;
use crate::cluster::{BROKERS, Brokers};
use crate::random::Random;
use crate::trace::Trace;
use tidemill::mistake::Mistake;

/// Virtual time, in microseconds since the start of the run.
pub type Micros = u64;

/// The wall clock at the start of a run, in ms since the Unix epoch.
pub const START_MS: i64 = 1_700_000_000_000;

/// What is done when its time has come.
pub type Action = Box<dyn FnOnce(&mut World) + Send>;

/// A coroutine: a thread of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ActorId(pub u64);

/// A process: an instance of the application, over all its restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProcessId(pub usize);

/// One life of a process: what an earlier life still has on its way is not answered any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life {
    /// Which process.
    pub process: ProcessId,
    /// Which start of it.
    pub number: u64,
}

/// What is to be done at a time.
pub(crate) enum Due {
    Act(Action),
    /// The coroutine goes on, unless it went on since.
    Resume(ActorId, u64),
}

/// How a process is.
#[derive(Debug, Default)]
pub(crate) struct Process {
    pub(crate) life: u64,
    pub(crate) is_alive: bool,
    /// Stands still until then.
    pub(crate) paused_until: Micros,
    /// Reaches no broker until then.
    pub(crate) cut_until: Micros,
    /// What happens to it when it next asks to join its group: it is cut off, or else stands still,
    /// for so long.
    pub(crate) at_join: Option<(bool, Micros)>,
    /// For how long it stands still when it next sends a record.
    pub(crate) at_send: Option<Micros>,
    /// Tells the instance to stop.
    pub(crate) stop: Option<Arc<StopSignal>>,
    /// When it was told to stop; later by what it has stood still since.
    pub(crate) told: Option<Micros>,
    /// When it is started again after it has ended by itself.
    pub(crate) back_after: Micros,
}

#[derive(Debug)]
pub(crate) struct Actor {
    pub(crate) life: Life,
    pub(crate) token: u64,
}

/// How bad the network is, in chances of a thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// A request never arrives.
    pub lost_requests: u64,
    /// An answer never arrives, although the request took effect.
    pub lost_answers: u64,
    /// Who asks is refused in passing, as by a broker that leads no more.
    pub refused: u64,
    /// Something takes up to a third of a second instead of milliseconds.
    pub slow: u64,
    /// A thread takes long over a record, while much else may happen.
    pub slow_records: u64,
    /// The markers of a decided transaction reach a partition seconds late.
    pub slow_markers: u64,
    /// A client loses its way to a partition, and reads no more of it until it is told anew from where.
    pub astray: u64,
}

/// See the [module](self).
pub struct World {
    pub(crate) now: Micros,
    /// What the runtime takes for the start of its time.
    start: Instant,
    sequence: u64,
    queue: BTreeMap<(Micros, u64), Due>,
    pub(crate) random: Random,
    pub(crate) trace: Trace,
    pub(crate) weather: Weather,
    pub(crate) mistake: Mistake,
    pub(crate) processes: BTreeMap<ProcessId, Process>,
    /// When the last request of a process arrives at a broker.
    connections: BTreeMap<(ProcessId, usize), Micros>,
    pub(crate) actors: BTreeMap<ActorId, Actor>,
    /// The coroutine that runs now.
    pub(crate) current: Option<ActorId>,
    /// Coroutines to start, for the scheduler.
    pub(crate) births: Vec<(Life, Box<dyn FnOnce() + Send>)>,
    /// Lives to end without a word, for the scheduler.
    pub(crate) deaths: Vec<Life>,
    pub(crate) brokers: Brokers,
    pub(crate) clients: Clients,
    /// What must not have happened.
    pub(crate) violations: Vec<String>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("now", &self.now).finish_non_exhaustive()
    }
}

/// Notes an event of a run.
macro_rules! note {
    ($world:expr, $($what:tt)*) => {{
        let now = $world.now;
        $world.trace.note(now, format_args!($($what)*));
    }};
}
pub(crate) use note;

impl World {
    pub(crate) fn new(seed: u64, trace: Trace, mistake: Mistake) -> Self {
        Self {
            now: 0,
            start: Instant::now(),
            sequence: 0,
            queue: BTreeMap::new(),
            random: Random::new(seed),
            trace,
            weather: Weather::default(),
            mistake,
            processes: BTreeMap::new(),
            connections: BTreeMap::new(),
            actors: BTreeMap::new(),
            current: None,
            births: Vec::new(),
            deaths: Vec::new(),
            brokers: Brokers::default(),
            clients: Clients::default(),
            violations: Vec::new(),
        }
    }

    fn due(&mut self, at: Micros, due: Due) {
        self.sequence += 1;
        self.queue.insert((at.max(self.now), self.sequence), due);
    }

    /// Does something at a time.
    pub(crate) fn at(&mut self, at: Micros, action: impl FnOnce(&mut World) + Send + 'static) {
        self.due(at, Due::Act(Box::new(action)));
    }

    /// Does something in a while.
    pub(crate) fn after(&mut self, wait: Micros, action: impl FnOnce(&mut World) + Send + 'static) {
        self.at(self.now + wait, action);
    }

    /// Does something within a process at a time: later if it stands still, never if it is gone.
    pub(crate) fn within(
        &mut self,
        life: Life,
        at: Micros,
        action: impl FnOnce(&mut World) + Send + 'static,
    ) {
        self.at(at, move |world| {
            if !world.is_alive(life) {
                return;
            }
            let until = world.processes[&life.process].paused_until;
            if until > world.now {
                world.within(life, until, action);
            } else {
                action(world);
            }
        });
    }

    /// The next that is due before a time; the time becomes its own, or that one.
    pub(crate) fn next_due_before(&mut self, until: Micros) -> Option<Due> {
        let first = self.queue.first_entry().filter(|first| first.key().0 < until);
        let Some(first) = first else {
            self.now = self.now.max(until);
            return None;
        };
        self.now = first.key().0;
        Some(first.remove())
    }

    pub(crate) fn is_alive(&self, life: Life) -> bool {
        self.processes
            .get(&life.process)
            .is_some_and(|process| process.is_alive && process.life == life.number)
    }

    /// The life that the running coroutine is of.
    pub(crate) fn current_life(&self) -> Option<Life> {
        Some(self.actors.get(&self.current?)?.life)
    }

    /// Lets the coroutine go on at a time, or earlier if it is woken.
    pub(crate) fn suspend(&mut self, actor: ActorId, until: Micros) {
        let Some(state) = self.actors.get_mut(&actor) else { return };
        state.token += 1;
        let token = state.token;
        self.due(until, Due::Resume(actor, token));
    }

    /// Lets a coroutine that waits go on now.
    pub(crate) fn wake(&mut self, actor: ActorId) {
        if let Some(token) = self.actors.get(&actor).map(|state| state.token) {
            self.due(self.now, Due::Resume(actor, token));
        }
    }

    /// Whether the coroutine is to go on now; puts it off while its process stands still.
    pub(crate) fn may_resume(&mut self, actor: ActorId, token: u64) -> bool {
        let Some(state) = self.actors.get_mut(&actor).filter(|state| state.token == token) else {
            return false;
        };
        let until = self.processes.get(&state.life.process).map_or(0, |p| p.paused_until);
        if until > self.now {
            self.due(until, Due::Resume(actor, token));
            return false;
        }
        state.token += 1;
        true
    }

    /// How long something is on its way.
    pub(crate) fn latency(&mut self) -> Micros {
        if self.random.chance(self.weather.slow) {
            self.random.between(5_000, 300_000)
        } else {
            self.random.between(150, 2_500)
        }
    }

    /// When a request that leaves a process now arrives at a broker.
    pub(crate) fn arrival(&mut self, process: ProcessId, broker: usize) -> Micros {
        let latency = self.latency();
        let cut = self.processes.get(&process).map_or(0, |process| process.cut_until);
        let at = self.now.max(cut).max(self.brokers.up_at(broker)) + latency;
        // One connection: what leaves first arrives first.
        let last = self.connections.entry((process, broker % BROKERS)).or_default();
        *last = at.max(*last + 1);
        *last
    }

    /// The present, as the runtime measures time.
    pub(crate) fn instant(&self) -> Instant {
        self.start + Duration::from_micros(self.now)
    }

    pub(crate) fn wall(&self) -> Timestamp {
        Timestamp::new(START_MS + (self.now / 1000).cast_signed())
    }
}

/// The world as everybody in it has it. Only one coroutine runs at a time, so the lock is never
/// waited for; it is never held while a coroutine waits.
#[derive(Clone, Debug)]
pub struct Sim {
    world: Arc<Mutex<World>>,
}

impl Sim {
    pub(crate) fn new(world: World) -> Self {
        Self { world: Arc::new(Mutex::new(world)) }
    }

    /// The world, to look at and to change.
    pub(crate) fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an event.
    pub(crate) fn note(&self, what: fmt::Arguments<'_>) {
        let mut world = self.lock();
        let now = world.now;
        world.trace.note(now, what);
    }

    /// Ends a coroutine whose process is gone: its stack unwinds from where it waited, but what
    /// catches panics on the way, as the runtime does around processors, would let it go on.
    pub(crate) fn end_if_gone() {
        if generator::is_generator() && !std::thread::panicking() {
            generator::co_yield_with(());
        }
    }

    /// Lets others go on until a time, or until somebody wakes this coroutine.
    pub(crate) fn wait_until(&self, until: Micros) {
        {
            let mut world = self.lock();
            let Some(actor) = world.current else {
                drop(world);
                Self::end_if_gone();
                // Outside of the simulation nothing else could go on.
                let mut world = self.lock();
                world.now = world.now.max(until);
                return;
            };
            world.suspend(actor, until);
        }
        generator::co_yield_with(());
    }

    /// Lets others go on for a while, whatever happens.
    pub(crate) fn pass(&self, time: Micros) {
        let until = self.lock().now + time;
        while self.lock().now < until {
            self.wait_until(until);
        }
    }
}

impl SimulatedTime for Sim {
    fn now(&self) -> Instant {
        self.lock().instant()
    }

    fn wall(&self) -> Timestamp {
        self.lock().wall()
    }

    fn sleep(&self, time: Duration) {
        self.pass(micros(time));
    }
}

/// A duration of the real world in virtual time.
pub(crate) fn micros(time: Duration) -> Micros {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX / 4)
}
