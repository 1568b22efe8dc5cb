//! What goes wrong in a run: drawn from the seed before the run begins.

use std::fmt;
use std::sync::Arc;

use crate::process::Setup;
use crate::random::Random;
use crate::world::{Micros, ProcessId, Sim, Weather, World, note};

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A process is killed, and comes back later.
    Crash {
        /// Which.
        process: ProcessId,
        /// Whether its state directory is lost.
        drops_state: bool,
        /// When it is started again.
        back_after: Micros,
    },
    /// A process stands still, and does not know it.
    Pause {
        /// Which.
        process: ProcessId,
        /// How long.
        time: Micros,
    },
    /// A process is told to stop, and is started again.
    Restart {
        /// Which.
        process: ProcessId,
        /// How long it is away.
        back_after: Micros,
    },
    /// A process reaches no broker, and runs on.
    Cut {
        /// Which.
        process: ProcessId,
        /// How long.
        time: Micros,
    },
    /// A process stands still, or is cut off, right after it has next asked to join its group: the
    /// group goes on without it, and it finds out only from the answer.
    AtJoin {
        /// Which.
        process: ProcessId,
        /// Whether it is cut off, and runs on.
        cut: bool,
        /// How long.
        time: Micros,
    },
    /// A process stands still while it processes a batch of records, and goes on with it: its group
    /// may have gone on without it, which it hears of before it commits.
    AtSend {
        /// Which.
        process: ProcessId,
        /// How long.
        time: Micros,
    },
    /// A broker does not answer.
    Outage {
        /// Which.
        broker: usize,
        /// How long.
        time: Micros,
    },
    /// The network loses and delays.
    Storm {
        /// How much.
        weather: Weather,
        /// How long.
        time: Micros,
    },
    /// Changelogs are compacted.
    Compaction,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: &Micros| *time as f64 / 1e6;
        match self {
            Self::Crash { process, drops_state, back_after } => {
                let state = if *drops_state { ", its state is lost" } else { "" };
                write!(f, "{process} crashes{state}, back after {} s", seconds(back_after))
            }
            Self::Pause { process, time } => {
                write!(f, "{process} stands still for {} s", seconds(time))
            }
            Self::Restart { process, back_after } => {
                write!(f, "{process} restarts, back after {} s", seconds(back_after))
            }
            Self::Cut { process, time } => {
                write!(f, "{process} is cut off for {} s", seconds(time))
            }
            Self::AtJoin { process, cut, time } => {
                let what = if *cut { "is cut off" } else { "stands still" };
                write!(f, "{process} {what} for {} s once it joins again", seconds(time))
            }
            Self::AtSend { process, time } => {
                write!(f, "{process} stands still for {} s once it sends", seconds(time))
            }
            Self::Outage { broker, time } => {
                write!(f, "broker {broker} is down for {} s", seconds(time))
            }
            Self::Storm { weather, time } => write!(f, "{weather:?} for {} s", seconds(time)),
            Self::Compaction => f.write_str("changelogs are compacted"),
        }
    }
}

/// The faults of a run, by their times.
#[must_use]
pub fn plan(
    random: &mut Random,
    processes: usize,
    from: Micros,
    until: Micros,
) -> Vec<(Micros, Fault)> {
    let count = random.between(1, 9);
    let mut plan: Vec<(Micros, Fault)> =
        (0..count).map(|_| (random.between(from, until), fault(random, processes))).collect();
    if random.chance(200) {
        // A rolling restart: one after the other.
        let mut at = random.between(from, until);
        for process in (0..processes).map(ProcessId) {
            plan.push((at, Fault::Restart { process, back_after: 1_000_000 }));
            at += random.between(2_000_000, 5_000_000);
        }
    }
    if processes > 1 && random.chance(250) {
        // A rebalance, of which one of those who take part hears no more.
        let at = random.between(from, until);
        let (process, other) = (random.index(processes), 1 + random.index(processes - 1));
        let other = ProcessId((process + other) % processes);
        let time = random.between(6_500_000, 12_000_000);
        plan.push((
            at,
            Fault::AtJoin { process: ProcessId(process), cut: random.chance(500), time },
        ));
        let back_after = random.between(500_000, 9_000_000);
        plan.push((at + 1_000, Fault::Restart { process: other, back_after }));
    }
    if random.chance(250) {
        let process = ProcessId(random.index(processes));
        let time = random.between(6_500_000, 9_500_000);
        plan.push((random.between(from, until), Fault::AtSend { process, time }));
    }
    // A restart after the end would start a process that was told to stop for good.
    plan.retain(|(at, _)| *at < until);
    plan.sort_by_key(|(at, _)| *at);
    plan
}

fn fault(random: &mut Random, processes: usize) -> Fault {
    let process = ProcessId(random.index(processes));
    // Within a session, or well beyond it.
    let long = random.chance(400);
    let time = if long {
        random.between(6_500_000, 14_000_000)
    } else {
        random.between(50_000, 4_000_000)
    };
    match random.below(100) {
        0..30 => Fault::Crash { process, drops_state: random.chance(300), back_after: time },
        30..50 => Fault::Pause { process, time },
        50..62 => Fault::Restart { process, back_after: time },
        62..74 => Fault::Cut { process, time },
        74..82 => Fault::Outage { broker: random.index(3), time: time.min(6_000_000) },
        82..94 => {
            let weather = Weather {
                lost_requests: random.below(80),
                lost_answers: random.below(120),
                refused: if random.chance(300) { random.below(700) } else { random.below(80) },
                slow: random.below(200),
                slow_records: random.below(20),
                slow_markers: random.below(500),
                astray: random.below(30),
            };
            Fault::Storm { weather, time }
        }
        _ => Fault::Compaction,
    }
}

/// Lets a fault happen.
pub(crate) fn strike(world: &mut World, fault: Fault, sim: &Sim, setup: &Arc<Setup>) {
    note!(world, "fault: {fault}");
    let now = world.now;
    match fault {
        Fault::Crash { process, drops_state, back_after } => {
            if !world.kill(process) {
                return;
            }
            if drops_state {
                let directory = setup.directories[process.0].clone();
                world.after(1, move |world| {
                    note!(world, "the state of {process} is removed");
                    // It may never have got as far as making one.
                    let _ = std::fs::remove_dir_all(directory);
                });
            }
            let (sim, setup) = (sim.clone(), Arc::clone(setup));
            world.after(back_after, move |world| world.start(process, &sim, setup));
        }
        Fault::Pause { process, time } => {
            world.pause(process, now + time);
        }
        Fault::Restart { process, back_after } => {
            if let Some(state) = world.processes.get_mut(&process) {
                state.back_after = back_after;
            }
            world.stop(process);
        }
        Fault::Cut { process, time } => {
            world.cut(process, now + time);
        }
        Fault::AtJoin { process, cut, time } => {
            if let Some(state) = world.processes.get_mut(&process) {
                state.at_join = Some((cut, time));
            }
        }
        Fault::AtSend { process, time } => {
            if let Some(state) = world.processes.get_mut(&process) {
                state.at_send = Some(time);
            }
        }
        Fault::Outage { broker, time } => world.brokers.take_down(broker, now + time),
        Fault::Storm { weather, time } => {
            let usual = world.weather;
            world.weather = weather;
            world.after(time, move |world| {
                if world.weather == weather {
                    world.weather = usual;
                }
            });
        }
        Fault::Compaction => world.compact(),
    }
}
