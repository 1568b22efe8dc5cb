//! The control thread of an instance: starts the others, watches them, adds and removes some.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::error::RuntimeError;
use super::global::GlobalStores;
use super::instance::{Instance, Standbys, Worker};
use super::observe::Phase;
use super::plan::Plan;
use super::recent::Recent;
use super::restore::Work;
use super::stop::StopSignal;
use crate::kafka::{Cluster, KafkaError, Waker};

/// How often the control thread looks after memory and old state.
const LOOK: Duration = Duration::from_secs(1);

/// Threads that work for so long after they were told to stop are named in the log.
const SLOW: Duration = Duration::from_secs(5);

/// A thread that its group refuses for good is started anew, unless that happens so often within
/// [`REPLACED_WITHIN`]: two instances of one name would refuse each other for ever, each the other at
/// its next heartbeat. The members topic tells them which of them is to stop; this is for those who
/// cannot hear it. What else refuses a thread, a coordinator that moved, does so at most once a session.
const REPLACED_TOO_OFTEN: usize = 6;
const REPLACED_WITHIN: Duration = Duration::from_secs(30);

/// What reaches into the instance from outside.
pub(super) struct Links {
    /// Tells all threads to stop.
    pub stop: Arc<StopSignal>,
    /// Tells all threads to process nothing while it is set.
    pub paused: Arc<AtomicBool>,
    /// The stream threads, in the order in which they were started.
    pub threads: Mutex<Vec<ThreadHandle>>,
    orders: Mutex<Orders>,
}

/// What the control thread is asked to do with its threads.
#[derive(Default)]
struct Orders {
    waiting: VecDeque<Order>,
    /// Set once nobody carries them out any more.
    is_closed: bool,
}

/// A wish to change the number of stream threads, and where its outcome goes: a thread's name.
pub(super) enum Order {
    /// One more.
    Add(Sender<String>),
    /// One fewer.
    Remove(Sender<String>),
    /// One that leaves its group and joins again, by its name.
    Rejoin(String),
}

/// A stream thread, as others reach it.
pub(super) struct ThreadHandle {
    name: String,
    /// Told when this thread alone is to end.
    removed: Arc<StopSignal>,
    /// Ends its wait for records.
    pub wake: Box<dyn Fn() + Send>,
}

impl Links {
    /// Of an instance that `stop` stops and `paused` pauses.
    pub fn new(stop: &Arc<StopSignal>, paused: &Arc<AtomicBool>) -> Self {
        Self {
            stop: Arc::clone(stop),
            paused: Arc::clone(paused),
            threads: Mutex::default(),
            orders: Mutex::default(),
        }
    }

    /// Ends every stream thread's wait.
    pub fn wake_all(&self) {
        for thread in &*self.threads.lock().unwrap_or_else(PoisonError::into_inner) {
            (thread.wake)();
        }
    }

    /// Asks for a change, and waits for its outcome; `None` when nobody carries it out.
    pub fn order(&self, order: fn(Sender<String>) -> Order) -> Option<String> {
        let (answer, answered) = channel();
        {
            let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
            if orders.is_closed {
                return None;
            }
            orders.waiting.push_back(order(answer));
        }
        answered.recv().ok()
    }

    /// Has the thread that was started first leave its group and join again; its name.
    pub fn tell_first_to_rejoin(&self) -> Option<String> {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let name = threads.first()?.name.clone();
        drop(threads);
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        orders.waiting.push_back(Order::Rejoin(name.clone()));
        Some(name)
    }

    fn next_order(&self) -> Option<Order> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).waiting.pop_front()
    }

    /// Drops what was asked and not carried out: whoever waits for it hears so.
    fn close_orders(&self) {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        *orders = Orders { waiting: VecDeque::new(), is_closed: true };
    }

    /// A thread has ended that was told to.
    fn forget(&self, name: &str) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.retain(|thread| thread.name != name);
    }

    /// Tells the thread that was started last to end, unless it is the only one. Its name.
    fn tell_last_to_end(&self) -> Option<String> {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let mut staying = threads.iter().filter(|thread| !thread.removed.is_told());
        let (last, another) = (staying.next_back()?, staying.next_back());
        another?;
        last.removed.tell(Instant::now());
        (last.wake)();
        Some(last.name.clone())
    }

    /// Tells a thread to end, and to leave its group; false if there is none of that name.
    fn tell_to_end(&self, name: &str) -> bool {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(thread) = threads.iter().find(|thread| thread.name == name) else { return false };
        thread.removed.tell(Instant::now());
        (thread.wake)();
        true
    }

    /// The smallest number whose thread does not exist.
    fn free_number(&self, name: impl Fn(usize) -> String) -> usize {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = |number: &usize| threads.iter().all(|thread| thread.name != name(*number));
        // There is one number more than threads, so one of them is free.
        (0..=threads.len()).find(is_free).unwrap_or(threads.len())
    }
}

/// The control thread: starts the others and watches them.
pub(super) struct Control<C> {
    instance: Instance<C>,
    links: Arc<Links>,
}

/// What every stream thread is given.
struct Given {
    plan: Arc<Plan>,
    globals: GlobalStores,
    /// Where copies of other instances' tasks are taken from.
    copies: Option<Sender<Work>>,
}

/// A thread that is waited for.
struct Running {
    name: String,
    /// Its number, if it is a stream thread.
    number: Option<usize>,
    thread: JoinHandle<Result<(), RuntimeError>>,
}

impl<C: Cluster> Control<C> {
    /// Of an instance none of whose threads runs yet.
    pub fn new(instance: Instance<C>, links: Arc<Links>) -> Self {
        Self { instance, links }
    }

    /// Runs the instance to its end.
    pub fn run(self) -> Result<(), RuntimeError> {
        let result = self.run_parts();
        self.links.close_orders();
        if let Err(error) = &result {
            self.instance.shared().set_phase(Phase::Failed(error.to_string()));
        }
        result
    }

    fn run_parts(&self) -> Result<(), RuntimeError> {
        let Some(plan) = self.instance.prepare()? else { return Ok(()) };
        let members = self.start_members()?;
        let topics = self.start_topic_watch(&plan)?;
        let orphans = self.start_orphan_watch(&plan)?;
        let result = self.run_threads(&Arc::new(plan));
        self.instance.stop().tell(Instant::now());
        let ended = |name: &str, thread: JoinHandle<Result<(), RuntimeError>>| {
            thread.join().unwrap_or(Err(RuntimeError::ThreadDied(name.to_owned())))
        };
        // What the topics have become explains the rest; so does another process in this one's place.
        let result = ended("topics", topics).and(ended("members", members)).and(result);
        result.and(ended("orphans", orphans))
    }

    /// Starts the thread that speaks with the other instances. When it fails, the instance stops.
    fn start_members(&self) -> Result<JoinHandle<Result<(), RuntimeError>>, RuntimeError> {
        let role = self.instance.members();
        self.start_aside("members", move || role.run())
    }

    /// Starts the thread that watches over the topics, likewise.
    fn start_topic_watch(
        &self,
        plan: &Plan,
    ) -> Result<JoinHandle<Result<(), RuntimeError>>, RuntimeError> {
        let watch = self.instance.topic_watch(plan)?;
        self.start_aside("topics", move || watch.run())
    }

    /// Starts the thread that watches over tasks that the group gave to nobody.
    fn start_orphan_watch(
        &self,
        plan: &Plan,
    ) -> Result<JoinHandle<Result<(), RuntimeError>>, RuntimeError> {
        let (watch, links) = (self.instance.orphan_watch(plan), Arc::clone(&self.links));
        self.start_aside("orphans", move || watch.run(&links))
    }

    /// Starts a thread beside the stream threads, which stops the instance when it fails.
    fn start_aside(
        &self,
        name: &str,
        run: impl FnOnce() -> Result<(), RuntimeError> + Send + 'static,
    ) -> Result<JoinHandle<Result<(), RuntimeError>>, RuntimeError> {
        let links = Arc::clone(&self.links);
        spawn(name.to_owned(), move || {
            let result = run();
            if result.is_err() {
                links.stop.tell(Instant::now());
                links.wake_all();
            }
            result
        })
    }

    /// Starts the thread that keeps copies, if there is to be one; where they are taken from.
    fn start_standbys(
        &self,
        plan: &Arc<Plan>,
        threads: &mut Vec<Running>,
    ) -> Result<Option<Sender<Work>>, RuntimeError> {
        let Some(standbys) = self.instance.standbys(plan)? else { return Ok(None) };
        let Standbys { updater, copies } = standbys;
        let name = "standby".to_owned();
        let run = move || {
            updater.run();
            Ok(())
        };
        threads.push(Running { thread: spawn(name.clone(), run)?, name, number: None });
        Ok(Some(copies))
    }

    fn run_threads(&self, plan: &Arc<Plan>) -> Result<(), RuntimeError> {
        let instance = &self.instance;
        instance.shared().stores().set_plan(plan);
        let updater = instance.read_globals()?;
        if instance.is_stopping() {
            return Ok(());
        }
        let mut threads = Vec::new();
        let mut globals = GlobalStores::default();
        if let Some(updater) = updater {
            globals = updater.stores();
            updater.open(instance.shared().stores());
            let stop = Arc::clone(instance.stop());
            let name = "global".to_owned();
            let thread = spawn(name.clone(), move || updater.run(&stop))?;
            threads.push(Running { name, number: None, thread });
        }
        let warms_up = instance.warms_up()?;
        let copies = self.start_standbys(plan, &mut threads)?;
        if warms_up {
            instance.wait_until_warm(plan);
        }
        let given = Given { plan: Arc::clone(plan), globals, copies };
        for number in 0..instance.config().runtime.threads {
            threads.push(self.start_thread(number, &given)?);
        }
        if !instance.is_stopping() {
            instance.shared().set_phase(Phase::Running);
        }
        self.watch(threads, &given)
    }

    fn start_thread(&self, number: usize, given: &Given) -> Result<Running, RuntimeError> {
        let Given { plan, globals, copies } = given;
        let worker = self.instance.worker(number, plan, globals.clone(), copies.clone())?;
        let Worker { name, thread, updater, removed, waker } = worker;
        spawn(format!("restore-{number}"), move || updater.run())?;
        let wake = Box::new(move || waker.wake());
        let handle = ThreadHandle { name: name.clone(), removed, wake };
        self.links.threads.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
        let thread = spawn(format!("stream-{number}"), move || thread.run())?;
        Ok(Running { name, number: Some(number), thread })
    }

    /// Forgets a thread that its group refuses for good, unless it was too often lately; whether it
    /// is to be started anew. After a pause longer than the session the group may refuse a static
    /// member for its own old self, and the client cannot recover from that.
    fn forget_refused(
        &self,
        name: &str,
        error: &RuntimeError,
        refused: &mut HashMap<String, Recent>,
    ) -> bool {
        if !matches!(error, RuntimeError::Consumer(_)) || self.instance.is_stopping() {
            return false;
        }
        let recent =
            refused.entry(name.to_owned()).or_insert_with(|| Recent::within(REPLACED_WITHIN));
        if recent.note(Instant::now()) >= REPLACED_TOO_OFTEN {
            return false;
        }
        tracing::warn!(thread = name, %error, "the thread is started anew");
        self.links.forget(name);
        true
    }

    /// Waits for the threads; when one fails, the others are told to stop.
    fn watch(&self, mut threads: Vec<Running>, given: &Given) -> Result<(), RuntimeError> {
        let mut result = Ok(());
        let mut looked: Option<Instant> = None;
        let mut leaving: Vec<(String, Sender<String>)> = Vec::new();
        let mut rejoining: Vec<String> = Vec::new();
        let mut refused = HashMap::new();
        let mut named_slow = false;
        while !threads.is_empty() {
            let stream_threads = threads.iter().filter(|thread| thread.number.is_some());
            self.instance.shared().client().set_threads(stream_threads.count());
            match self.links.next_order() {
                // Dropped: no thread comes or goes while all of them end.
                Some(_) if self.instance.is_stopping() => {}
                Some(Order::Add(answer)) => {
                    let number = self.links.free_number(|number| self.instance.thread_name(number));
                    let started = self.start_thread(number, given)?;
                    // Whoever asked may have given up.
                    let _ = answer.send(started.name.clone());
                    threads.push(started);
                }
                Some(Order::Remove(answer)) => {
                    leaving.extend(self.links.tell_last_to_end().map(|name| (name, answer)));
                }
                Some(Order::Rejoin(name)) if rejoining.contains(&name) => {}
                Some(Order::Rejoin(name)) => {
                    let is_told = self.links.tell_to_end(&name);
                    rejoining.extend(is_told.then_some(name));
                }
                None => {}
            }
            let Some(at) = threads.iter().position(|running| running.thread.is_finished()) else {
                let told = self.instance.stop().told_at();
                if !named_slow && told.is_some_and(|told| told.elapsed() >= SLOW) {
                    named_slow = true;
                    let names: Vec<&str> =
                        threads.iter().map(|running| running.name.as_str()).collect();
                    tracing::warn!(threads = names.join(" "), "these threads take long to stop");
                }
                if looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
                    looked = Some(Instant::now());
                    self.instance.clean_up();
                    self.instance.publish_state(&given.plan);
                }
                std::thread::sleep(Duration::from_millis(20));
                continue;
            };
            let Running { name, number, thread } = threads.swap_remove(at);
            let ended = thread.join().unwrap_or(Err(RuntimeError::ThreadDied(name.clone())));
            if let Some(at) = leaving.iter().position(|(leaving, _)| *leaving == name) {
                let (name, answer) = leaving.swap_remove(at);
                self.links.forget(&name);
                self.instance.shared().forget_thread(&name);
                let _ = answer.send(name);
            }
            if let Some(at) = rejoining.iter().position(|rejoining| *rejoining == name) {
                rejoining.swap_remove(at);
                self.links.forget(&name);
                if let (Ok(()), Some(number)) = (&ended, number)
                    && !self.instance.is_stopping()
                {
                    threads.push(self.start_thread(number, given)?);
                    continue;
                }
            }
            if let Err(error) = ended {
                if let Some(number) = number
                    && self.forget_refused(&name, &error, &mut refused)
                {
                    threads.push(self.start_thread(number, given)?);
                    continue;
                }
                self.instance.stop().tell(Instant::now());
                self.links.wake_all();
                result = result.and(Err(error));
            }
        }
        self.instance.shared().client().set_threads(0);
        result
    }
}

fn spawn<T: Send + 'static>(
    name: String,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, RuntimeError> {
    let text = name.clone();
    Builder::new().name(name).spawn(run).map_err(|error| {
        let cause = KafkaError::new(
            crate::kafka::ErrorClass::Other,
            "spawn",
            "start a thread",
            error.to_string(),
        );
        tracing::error!(thread = text, %cause, "cannot start a thread");
        RuntimeError::ThreadDied(text)
    })
}
