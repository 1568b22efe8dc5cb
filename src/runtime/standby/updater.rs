//! The thread that keeps an instance's copies of other instances' state.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use tidemill_topology::graph::TaskId;

use super::heirs::Heirs;
use super::placement::{Verdict, is_elsewhere, verdict};
use crate::clock::Clock;
use crate::kafka::Cluster;
use crate::runtime::observe::{Phase, Shared};
use crate::runtime::plan::Plan;
use crate::runtime::restore::{Done, StateUpdater};
use crate::runtime::stop::StopSignal;
use crate::status::Introspect;

/// How often the placement is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// A new member is given nothing at first, and its tasks with a second rebalance. Once all it has
/// runs for so long, no more is on its way.
const SETTLED: Duration = Duration::from_secs(10);
/// How often an instance that warms up looks whether it is done.
const WARM_LOOK: Duration = Duration::from_millis(100);
/// How long warm copies may come no closer until it joins.
const NO_GAIN: Duration = Duration::from_secs(1);
/// How often it says how far it is.
const WARM_REPORT: Duration = Duration::from_secs(10);
/// How long a turn waits for somebody to take a copy while it keeps none.
const IDLE: Duration = Duration::from_millis(50);

/// Keeps copies of tasks that other instances run. Stores are read from their changelogs by a
/// [`StateUpdater`] of its own.
pub struct StandbyUpdater<C: Cluster> {
    updater: StateUpdater<C>,
    failed: Receiver<Done>,
    clock: Clock,
    shared: Arc<Shared>,
    stop: Arc<StopSignal>,
    /// The tasks that have changelogs to copy from.
    tasks: Vec<TaskId>,
    settings: StandbySettings,
    heirs: Heirs,
    looked: Option<Instant>,
    /// Since when all runs that the group has given to this instance.
    ready_since: Option<Instant>,
}

/// How copies are kept.
#[derive(Clone, Debug)]
pub struct StandbySettings {
    /// Copies of each task, all instances together.
    pub replicas: usize,
    /// Records that a copy may lag behind and count as warm.
    pub acceptable_lag: i64,
    /// Set while the instance has not joined the group yet: it copies every task that others run.
    pub is_joining: Arc<AtomicBool>,
}

/// Waits until this instance has warm copies of all tasks that others run, and for as long as they
/// still come closer; at once where nobody else runs any. The threads of the others' tasks run on
/// meanwhile, and what a copy lags behind is time for which its task stands still later.
pub fn wait_until_warm(
    plan: &Plan,
    shared: &Shared,
    settings: &StandbySettings,
    clock: &Clock,
    stop: &StopSignal,
) {
    let tasks = tasks_with_state(plan);
    let mut reported: Option<Instant> = None;
    let mut gain: Option<Gain> = None;
    while !stop.is_told() {
        let members = shared.members.members(clock.now());
        let copies = shared.standbys();
        let is_warm = |task: &TaskId| {
            copies.get(task).is_some_and(|copy| copy.lag <= settings.acceptable_lag)
        };
        let elsewhere: Vec<TaskId> =
            tasks.iter().copied().filter(|task| is_elsewhere(*task, &members)).collect();
        let warm = elsewhere.iter().filter(|task| is_warm(task)).count();
        let lag: i64 = copies.values().map(|copy| copy.lag).sum();
        let knows_others = shared.members.is_complete();
        if knows_others && warm == elsewhere.len() {
            let now = clock.now();
            if gain.get_or_insert(Gain { lag, at: now }).is_over(lag, now) {
                tracing::info!(copies = warm, lag, "warm; joins the group");
                return;
            }
        }
        shared.set_phase(Phase::Starting(match knows_others {
            true => format!("{warm} of {} copies are warm", elsewhere.len()),
            false => "the other instances are not known yet".to_owned(),
        }));
        if reported.is_none_or(|reported| clock.elapsed(reported) >= WARM_REPORT) {
            reported = Some(clock.now());
            tracing::info!(warm, of = elsewhere.len(), lag, "warms up before it joins");
        }
        clock.sleep(WARM_LOOK);
    }
}

/// How far behind copies were when they had last come clearly closer.
struct Gain {
    lag: i64,
    at: Instant,
}

impl Gain {
    /// Notes a lag; whether waiting longer gains nothing.
    fn is_over(&mut self, lag: i64, now: Instant) -> bool {
        // By a tenth: what comes in meanwhile makes the lag go up and down.
        if lag < self.lag - self.lag / 10 {
            *self = Self { lag, at: now };
        }
        lag == 0 || now.saturating_duration_since(self.at) >= NO_GAIN
    }
}

/// The tasks that have changelogs to copy from: topics of their own, not inputs.
fn tasks_with_state(plan: &Plan) -> Vec<TaskId> {
    let stateful = plan
        .subtopologies()
        .filter(|(_, plan)| plan.changelogs.iter().flatten().any(|log| !log.is_input));
    let tasks = stateful.flat_map(|(subtopology, plan)| {
        (0..plan.tasks).map(move |partition| TaskId { subtopology, partition })
    });
    tasks.collect()
}

impl<C: Cluster> StandbyUpdater<C> {
    /// An updater of the copies that `settings` ask for; `failed` is where `updater` says what it
    /// could not do.
    #[must_use]
    pub fn new(
        updater: StateUpdater<C>,
        failed: Receiver<Done>,
        clock: Clock,
        shared: Arc<Shared>,
        stop: Arc<StopSignal>,
        plan: &Plan,
        settings: StandbySettings,
    ) -> Self {
        let tasks = tasks_with_state(plan);
        Self {
            updater,
            failed,
            clock,
            shared,
            stop,
            tasks,
            settings,
            heirs: Heirs::new(plan),
            looked: None,
            ready_since: None,
        }
    }

    /// Keeps copies until told to stop. Their stores are closed then.
    pub fn run(mut self) {
        while !self.stop.is_told() {
            self.run_once(IDLE);
        }
    }

    /// One turn: looks who is to have which copy when that is due, hands over copies that are asked
    /// for, and reads a batch; waits up to `patience` when there is nothing to read.
    pub fn run_once(&mut self, patience: Duration) {
        if self.looked.is_none_or(|looked| self.clock.elapsed(looked) >= LOOK) {
            self.looked = Some(self.clock.now());
            self.place();
        }
        self.updater.run_once(patience);
        for failed in self.failed.try_iter() {
            if let Done::Failed { task, error } = failed {
                // The next look tries again.
                tracing::warn!(%task, %error, "a copy cannot be kept");
                self.shared.client().error(error.class());
            }
        }
        self.shared.set_standbys(self.updater.copies());
        self.updater.show_copies();
    }

    /// Whether this instance is new to the group and may be given tasks any moment.
    fn is_joining(&mut self) -> bool {
        let is_joining = &self.settings.is_joining;
        if !is_joining.load(Ordering::Relaxed) {
            return false;
        }
        if !self.shared.status().ready {
            self.ready_since = None;
            return true;
        }
        let now = self.clock.now();
        let since = *self.ready_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= SETTLED {
            is_joining.store(false, Ordering::Relaxed);
        }
        true
    }

    fn place(&mut self) {
        let is_joining = self.is_joining();
        let StandbySettings { replicas, acceptable_lag, .. } = &self.settings;
        let now = self.clock.now();
        let members = self.shared.members.members(now);
        self.heirs.look(&members, now);
        let held = self.shared.held_tasks();
        let mut wanted = Vec::new();
        for task in &self.tasks {
            let has_copy = self.updater.holds(*task);
            // Its own word is fresher than what it told others.
            let verdict = match held.get(task) {
                Some(own) if own.is_running() => Verdict::Drop,
                // The copy is about to be taken over.
                Some(_) => Verdict::Leave,
                None if is_joining && is_elsewhere(*task, &members) => Verdict::Keep,
                None => verdict(*task, &members, &self.heirs, *replicas, *acceptable_lag),
            };
            match verdict {
                Verdict::Keep if !has_copy => {
                    tracing::info!(%task, "keeps a copy");
                    wanted.push(*task);
                }
                Verdict::Drop if has_copy => {
                    tracing::info!(%task, "keeps a copy no longer");
                    drop(self.updater.end_copy(*task));
                    self.shared.forget(*task);
                }
                Verdict::Keep | Verdict::Drop | Verdict::Leave => {}
            }
        }
        self.updater.begin_copies(wanted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_worth_it_while_copies_come_closer() {
        let begin = Instant::now();
        let after = |millis| begin + Duration::from_millis(millis);
        let mut gain = Gain { lag: 9_000, at: begin };
        assert!(!gain.is_over(9_000, after(500)));
        assert!(!gain.is_over(5_000, after(900)), "it came closer");
        assert!(!gain.is_over(4_600, after(1_800)), "not by a tenth, but not for long");
        assert!(gain.is_over(4_600, after(1_900)), "a second without a gain");
        assert!(Gain { lag: 10, at: begin }.is_over(0, begin), "nothing is left to gain");
    }
}
