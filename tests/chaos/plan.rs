//! The script of a run: which fault happens to whom, and when, all of it drawn from one seed.
//!
//! Faults lie in *lanes*. A lane does its faults one after another, and the lanes run at the same
//! time: each instance has one, the brokers share one (only one of them is ever away), and so do
//! the connections. Faults of different lanes overlap as they like.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

/// The session timeout of the instances: who is away for longer loses its tasks.
pub const SESSION: Duration = Duration::from_secs(6);

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL, and a new start after a while, with the state deleted in between or kept.
    Kill { away: Duration, wipes: bool },
    /// SIGSTOP for longer than a session, then SIGCONT: its tasks have new owners meanwhile.
    Freeze { away: Duration },
    /// As above, and another process has taken its name before it wakes.
    Replace { away: Duration },
    /// A broker stops in order and is started again.
    StopBroker { broker: u32, away: Duration },
    /// A broker is killed and is started again.
    KillBroker { broker: u32, away: Duration },
    /// All connections of the instances to a broker are cut, and new ones refused.
    Cut { broker: usize, away: Duration },
    /// The connections stay and carry nothing.
    Silence { broker: usize, away: Duration },
    /// Each piece is delayed.
    Slow { broker: usize, delay: Duration, away: Duration },
}

/// The rows of the table at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Kill,
    KillAndWipe,
    Zombie,
    Broker,
    Connection,
}

impl Kind {
    pub const ALL: [Self; 5] =
        [Self::Kill, Self::KillAndWipe, Self::Zombie, Self::Broker, Self::Connection];
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Kill => "instance killed",
            Self::KillAndWipe => "killed, state deleted",
            Self::Zombie => "frozen past its session",
            Self::Broker => "broker stopped or killed",
            Self::Connection => "connections cut or slow",
        })
    }
}

impl Fault {
    /// Its row in the table.
    pub fn kind(self) -> Kind {
        match self {
            Self::Kill { wipes: false, .. } => Kind::Kill,
            Self::Kill { wipes: true, .. } => Kind::KillAndWipe,
            Self::Freeze { .. } | Self::Replace { .. } => Kind::Zombie,
            Self::StopBroker { .. } | Self::KillBroker { .. } => Kind::Broker,
            Self::Cut { .. } | Self::Silence { .. } | Self::Slow { .. } => Kind::Connection,
        }
    }
}

/// A fault and the time since the start of the script at which it is due. It comes later if the
/// one before it in its lane is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub at: Duration,
    pub fault: Fault,
}

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// By instance.
    pub instances: Vec<Vec<Step>>,
    pub brokers: Vec<Step>,
    pub connections: Vec<Step>,
}

impl Plan {
    /// The script of a seed for so many instances and brokers. In five minutes there are 9 kills,
    /// 6 kills with the state deleted, 4 zombies, 4 brokers and 6 faults of connections; a shorter
    /// run has fewer, but at least one of each.
    pub fn draw(seed: u64, length: Duration, instances: usize, brokers: u32) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let scaled = |in_five_minutes: f64| {
            ((in_five_minutes * length.as_secs_f64() / 300.0).ceil() as usize).max(1)
        };
        let mut of_instances: Vec<Fault> = Vec::new();
        for number in 0..scaled(9.0) {
            // Every third stays away for longer than a session: others take its tasks over.
            let away = if number % 3 == 2 { 7_500..9_000 } else { 0..3_000 };
            let away = Duration::from_millis(random.random_range(away));
            of_instances.push(Fault::Kill { away, wipes: false });
        }
        for _ in 0..scaled(6.0) {
            let away = Duration::from_millis(random.random_range(0..3_000));
            of_instances.push(Fault::Kill { away, wipes: true });
        }
        for number in 0..scaled(4.0) {
            let away = SESSION + Duration::from_millis(random.random_range(2_000..6_000));
            of_instances.push(match number % 2 {
                0 => Fault::Freeze { away },
                _ => Fault::Replace { away },
            });
        }
        of_instances.shuffle(&mut random);
        let of_brokers = (0..scaled(4.0)).map(|number| {
            let broker = random.random_range(1..=brokers);
            let away = Duration::from_millis(random.random_range(1_000..6_000));
            match number % 2 {
                0 => Fault::StopBroker { broker, away },
                _ => Fault::KillBroker { broker, away },
            }
        });
        let of_brokers: Vec<Fault> = of_brokers.collect();
        let of_connections = (0..scaled(6.0)).map(|number| {
            let broker = random.random_range(0..brokers as usize);
            let away = Duration::from_millis(random.random_range(1_000..7_000));
            match number % 3 {
                0 => Fault::Cut { broker, away },
                1 => {
                    let delay = Duration::from_millis(random.random_range(20..200));
                    Fault::Slow { broker, delay, away }
                }
                _ => Fault::Silence { broker, away },
            }
        });
        let of_connections: Vec<Fault> = of_connections.collect();
        // Dealt out in turn, so that no lane has much more to do than another.
        let mut lanes = vec![Vec::new(); instances];
        let first = random.random_range(0..instances);
        for (number, fault) in of_instances.into_iter().enumerate() {
            lanes[(first + number) % instances].push(fault);
        }
        Self {
            instances: lanes.into_iter().map(|lane| spread(lane, length, &mut random)).collect(),
            brokers: spread(of_brokers, length, &mut random),
            connections: spread(of_connections, length, &mut random),
        }
    }
}

/// Gives each fault of a lane a moment of its own part of the time.
fn spread(faults: Vec<Fault>, length: Duration, random: &mut StdRng) -> Vec<Step> {
    let part = length / faults.len().max(1) as u32;
    let step = |(number, fault)| {
        let at = part * number as u32 + part.mul_f64(random.random_range(0.0..0.6));
        Step { at, fault }
    };
    faults.into_iter().enumerate().map(step).collect()
}
