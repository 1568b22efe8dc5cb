//! The protocol by which tasks may be lent, as a model of its own: every order of events is tried.
//!
//! The runtime does not lend tasks. `ARCHITECTURE.md` has the design, and this is its proof, as far
//! as trying everything within small bounds is one: two static members, one task, and all that can
//! happen to them in any order. Processes start, come back under their name while their older life is
//! still about, are given up by the group and find out late; what they write to the topic of loans
//! arrives late, or not any more. What must never be accepted is a commit that does not begin at the
//! committed offset: two have then processed the same record.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use rustc_hash::{FxHashSet, FxHasher};

/// What a run of the protocol leaves out, for the model to find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Omission {
    /// Nothing.
    #[default]
    Nothing,
    /// A borrower commits under whatever generation it is in.
    LoansGeneration,
    /// An owner takes a task back within the generation although it was not returned.
    Return,
    /// A process runs a task before it has read the topic of loans to its end.
    CatchingUp,
    /// What an older life of a process has on its way to the topic arrives even after the newer one
    /// has begun.
    Fencing,
}

impl Omission {
    /// Everything that can be left out.
    pub const ALL: [Self; 4] =
        [Self::LoansGeneration, Self::Return, Self::CatchingUp, Self::Fencing];
}

/// How far the model goes.
const GENERATIONS: u8 = 3;
const LIVES: usize = 3;
const COMMITS: u8 = 1;
const RECORDS: usize = 3;

const COMMITS_ITS_OWN: &str = "commits its own task";
const COMMITS_BORROWED: &str = "commits the borrowed task";

/// A static member: 0 or 1.
type Name = usize;

/// A record in the topic of loans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Record {
    /// The owner lends the task to the other for a generation.
    Lent { generation: u8, by: Name },
    /// The borrower has committed for the last time, and runs it no more.
    Returned { generation: u8 },
}

/// The topic of loans: what every process reads in the same order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Topic {
    records: [Option<Record>; RECORDS],
    len: usize,
}

/// In what role a process runs the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Role {
    Owner,
    Borrower { generation: u8 },
}

/// A process, in one life: a newer one of the same name may run beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Life {
    name: Name,
    /// Its transactional epoch, and its member id once it has joined.
    number: u8,
    /// The generation that it knows it is in.
    generation: Option<u8>,
    /// Whether it knows the task to be its own.
    owns: bool,
    /// How many records of the topic it has read.
    heard: usize,
    /// Whether it has read the topic to its end since its producer began.
    caught_up: bool,
    /// What it has on its way to the topic.
    flying: Option<Record>,
    /// What it runs, and the offset from which its open transaction goes on.
    runs: Option<(Role, u8)>,
    /// Whether the group has taken the offsets of its open transaction.
    offered: bool,
}

/// What happens: who does what, by the number of its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event(pub u8, pub &'static str);

/// Events, and what is after each; nothing where it commits a record that was committed already.
type Found = Vec<(Event, Option<Moment>)>;

/// Everything at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Moment {
    generation: u8,
    /// Whose the task is.
    owner: Option<Name>,
    /// The member that the group knows under each name.
    members: [Option<u8>; 2],
    /// The newest producer of each name.
    producers: [u8; 2],
    /// The committed offset.
    committed: u8,
    topic: Topic,
    lives: [Option<Life>; LIVES],
}

/// What was found.
#[derive(Debug)]
pub struct Explored {
    /// How many different moments there are.
    pub moments: usize,
    /// How many of the events are commits of a borrower.
    pub borrowed_commits: usize,
    /// The events that lead to two commits of one record, if any do.
    pub violation: Option<Vec<Event>>,
}

/// Tries every order of events.
#[must_use]
pub fn explore(omission: Omission) -> Explored {
    let start = Moment {
        generation: 1,
        owner: Some(0),
        members: [Some(1), Some(2)],
        producers: [1, 2],
        committed: 0,
        topic: Topic::default(),
        lives: [Some(Life::joined(0, 1)), Some(Life::joined(1, 2)), None],
    };
    let mut known = FxHashSet::from_iter([fingerprint(&start)]);
    // Where each moment came from, to tell the story of the one that is wrong.
    let mut past: Vec<(usize, Event)> = vec![(0, Event(0, "begins"))];
    let mut waiting = VecDeque::from([(start, 0)]);
    let mut borrowed_commits = 0;
    while let Some((moment, at)) = waiting.pop_front() {
        for (event, next) in moment.successors(omission) {
            borrowed_commits += usize::from(event.1 == COMMITS_BORROWED);
            let Some(next) = next else {
                let violation = Some(story(&past, at, event));
                return Explored { moments: known.len(), borrowed_commits, violation };
            };
            if known.insert(fingerprint(&next)) {
                past.push((at, event));
                waiting.push_back((next, past.len() - 1));
            }
        }
    }
    Explored { moments: known.len(), borrowed_commits, violation: None }
}

/// The events that lead from the start to a moment and its last event.
fn story(past: &[(usize, Event)], mut at: usize, last: Event) -> Vec<Event> {
    let mut story = vec![last];
    while at > 0 {
        story.push(past[at].1);
        at = past[at].0;
    }
    story.reverse();
    story
}

/// Stands for a moment: of some millions no two have the same, as good as surely.
fn fingerprint(moment: &Moment) -> u64 {
    let mut hasher = FxHasher::default();
    moment.hash(&mut hasher);
    hasher.finish()
}

fn rebalance(expelled: [bool; 2], owner: Option<Name>) -> &'static str {
    match (expelled, owner) {
        ([false, false], None) => "the group rebalances; the task is nobody's",
        ([false, false], Some(0)) => "the group rebalances; the task is the first's",
        ([false, false], _) => "the group rebalances; the task is the second's",
        ([true, false], None) => "the first is expelled; the task is nobody's",
        ([true, false], _) => "the first is expelled; the task is the second's",
        ([false, true], None) => "the second is expelled; the task is nobody's",
        ([false, true], _) => "the second is expelled; the task is the first's",
        ([true, true], _) => "both are expelled",
    }
}

impl Life {
    fn new(name: Name, number: u8) -> Self {
        Self {
            name,
            number,
            generation: None,
            owns: false,
            heard: 0,
            caught_up: false,
            flying: None,
            runs: None,
            offered: false,
        }
    }

    /// A member of the first generation, in which the task is the first name's.
    fn joined(name: Name, number: u8) -> Self {
        let generation = Some(1);
        Self { generation, owns: name == 0, caught_up: true, ..Self::new(name, number) }
    }

    /// Whether the loan of a generation is open, by what it has read.
    fn sees_loan(&self, topic: &Topic, generation: u8) -> Option<Name> {
        let heard = topic.records[..self.heard].iter().flatten();
        heard.fold(None, |open, record| match *record {
            Record::Lent { generation: of, by } if of == generation => Some(by),
            Record::Returned { generation: of } if of == generation => None,
            _ => open,
        })
    }
}

impl Moment {
    /// Every event that may come next, and what is after it; nothing where it commits a record that
    /// was committed already.
    fn successors(&self, omission: Omission) -> Found {
        let mut found = Vec::new();
        self.births(&mut found);
        self.rebalances(&mut found);
        for life in self.lives.iter().flatten() {
            self.group_events(life, &mut found);
            self.topic_events(life, omission, &mut found);
            self.runs(life, omission, &mut found);
        }
        found
    }

    /// Whether a life's producer is the newest of its name.
    fn writes(&self, life: &Life) -> bool {
        self.producers[life.name] == life.number
    }

    /// Whether the group knows a life as its member.
    fn is_member(&self, life: &Life) -> bool {
        self.members[life.name] == Some(life.number)
    }

    /// Whether offsets of a transaction are not decided. Those of a fenced producer are aborted.
    fn has_pending(&self) -> bool {
        self.lives.iter().flatten().any(|life| life.offered && self.writes(life))
    }

    /// What follows when a life changes.
    fn when(
        found: &mut Found,
        of: (&Self, &Life),
        what: &'static str,
        change: impl FnOnce(&mut Self, &mut Life),
    ) {
        let (mut next, mut life) = (*of.0, *of.1);
        change(&mut next, &mut life);
        let at = usize::from(life.number) - 1;
        next.lives[at] = Some(life);
        found.push((Event(life.number, what), Some(next)));
    }

    /// A process starts: its producer fences an older one, whose transaction is aborted.
    fn births(&self, found: &mut Found) {
        let Some(at) = self.lives.iter().position(Option::is_none) else { return };
        // There are a few lives in all.
        let number = at as u8 + 1;
        for (name, what) in [(0, "starts as the first"), (1, "starts as the second")] {
            let mut next = *self;
            next.producers[name] = number;
            next.lives[at] = Some(Life::new(name, number));
            found.push((Event(number, what), Some(next)));
        }
    }

    /// The group goes on to its next generation, with or without those that it has.
    fn rebalances(&self, found: &mut Found) {
        if self.generation == GENERATIONS {
            return;
        }
        for expelled in [[false, false], [true, false], [false, true], [true, true]] {
            if (0..2).any(|name| expelled[name] && self.members[name].is_none()) {
                continue;
            }
            let stays = |name: &Name| self.members[*name].is_some() && !expelled[*name];
            // Sticky: what has an owner stays with it until it gives it up.
            let owners = match self.owner.filter(stays) {
                Some(owner) => vec![Some(owner)],
                None => (0..2).filter(stays).map(Some).chain([None]).collect(),
            };
            for owner in owners {
                let mut next = *self;
                next.generation += 1;
                next.owner = owner;
                for name in (0..2).filter(|name| expelled[*name]) {
                    next.members[name] = None;
                }
                found.push((Event(0, rebalance(expelled, owner)), Some(next)));
            }
        }
    }

    /// What a process does with its group.
    fn group_events(&self, life: &Life, found: &mut Found) {
        let hears = |next: &mut Self, life: &mut Life| {
            life.generation = Some(next.generation);
            life.owns = next.owner == Some(life.name);
        };
        if life.generation.is_none() && self.writes(life) {
            // A static name that is known is answered at once, in the same generation.
            Self::when(found, (self, life), "joins", |next, life| {
                next.members[life.name] = Some(life.number);
                hears(next, life);
            });
        }
        if !self.is_member(life) {
            return;
        }
        if life.generation != Some(self.generation) {
            Self::when(found, (self, life), "hears of the new generation", hears);
        }
        if life.owns && life.runs.is_none() && life.flying.is_none() {
            Self::when(found, (self, life), "gives the task up", |next, life| {
                next.owner = None;
                life.owns = false;
            });
        }
        // That it is killed needs no event: it then does nothing more.
    }

    /// What a process does with the topic of loans.
    fn topic_events(&self, life: &Life, omission: Omission, found: &mut Found) {
        if life.heard < self.topic.len || !life.caught_up {
            Self::when(found, (self, life), "reads the topic of loans", |next, life| {
                life.heard = next.topic.len.min(life.heard + 1);
                life.caught_up |= life.heard == next.topic.len;
            });
        }
        if let Some(record) = life.flying {
            if self.writes(life) || omission == Omission::Fencing {
                Self::when(
                    found,
                    (self, life),
                    "has written to the topic of loans",
                    |next, life| {
                        next.topic.records[next.topic.len] = Some(record);
                        next.topic.len += 1;
                        life.flying = None;
                        // It reads back what it wrote before it goes on.
                        life.caught_up = false;
                    },
                );
            }
            return;
        }
        let in_flight = self.lives.iter().flatten().filter(|life| life.flying.is_some()).count();
        let has_room = self.topic.len + in_flight < RECORDS;
        let may_write = has_room && life.runs.is_none() && life.caught_up;
        let Some(generation) = life.generation.filter(|_| may_write) else { return };
        let lender = life.sees_loan(&self.topic, generation);
        if life.owns && lender.is_none() {
            Self::when(found, (self, life), "lends", |_, life| {
                life.flying = Some(Record::Lent { generation, by: life.name });
            });
        }
        if lender.is_some_and(|by| by != life.name) {
            Self::when(found, (self, life), "returns", |_, life| {
                life.flying = Some(Record::Returned { generation });
            });
        }
    }

    /// What a process does with the task.
    fn runs(&self, life: &Life, omission: Omission, found: &mut Found) {
        let Some((role, from)) = life.runs else { return self.begins(life, omission, found) };
        let stop = |_: &mut Self, life: &mut Life| (life.runs, life.offered) = (None, false);
        Self::when(found, (self, life), "aborts", stop);
        if life.offered {
            let what = match role {
                Role::Owner => COMMITS_ITS_OWN,
                Role::Borrower { .. } => COMMITS_BORROWED,
            };
            if self.writes(life) && from != self.committed {
                found.push((Event(life.number, what), None));
            } else if self.writes(life) && from < COMMITS {
                Self::when(found, (self, life), what, |next, life| {
                    next.committed += 1;
                    (life.runs, life.offered) = (Some((role, from + 1)), false);
                });
            }
            return;
        }
        // The identity is checked at each commit: it is the one under which the task was given.
        let is_current = match role {
            Role::Owner => life.owns,
            Role::Borrower { generation } => {
                life.generation == Some(generation) || omission == Omission::LoansGeneration
            }
        };
        // The group checks member and generation, the coordinator of transactions the epoch.
        let is_newest = life.generation == Some(self.generation);
        if is_current && is_newest && self.is_member(life) && self.writes(life) {
            Self::when(found, (self, life), "offers its offsets", |_, life| life.offered = true);
        }
    }

    /// A process begins to run the task, from the committed offsets once they are stable.
    fn begins(&self, life: &Life, omission: Omission, found: &mut Found) {
        let Some(generation) = life.generation else { return };
        let has_read = life.caught_up || omission == Omission::CatchingUp;
        if self.has_pending() || !has_read || life.flying.is_some() {
            return;
        }
        let mut run = |what, role| {
            Self::when(found, (self, life), what, |next, life| {
                life.runs = Some((role, next.committed));
            });
        };
        let lender = life.sees_loan(&self.topic, generation);
        if life.owns && (lender.is_none() || omission == Omission::Return) {
            run("runs its task", Role::Owner);
        }
        if lender.is_some_and(|lender| lender != life.name) {
            run("runs the borrowed task", Role::Borrower { generation });
        }
    }
}
