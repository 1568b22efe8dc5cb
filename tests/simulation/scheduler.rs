//! The scheduler: takes what is due, one after the other, and lets coroutines go on.

use std::collections::BTreeMap;
use std::ptr::NonNull;

use generator::{Generator, Gn};

use crate::world::{Actor, ActorId, Due, Micros, Sim};

/// Stack of a coroutine, in words of 8 bytes: 1 MiB, of which the system gives what is touched.
const STACK_WORDS: usize = 128 << 10;

/// All coroutines of a run.
pub(crate) struct Scheduler {
    sim: Sim,
    coroutines: BTreeMap<ActorId, Generator<'static, (), ()>>,
    born: u64,
}

impl Scheduler {
    pub(crate) fn new(sim: Sim) -> Self {
        Self { sim, coroutines: BTreeMap::new(), born: 0 }
    }

    /// Runs until nothing is due before `until`.
    pub(crate) fn run_until(&mut self, until: Micros) {
        loop {
            self.bury_and_bear();
            let mut world = self.sim.lock();
            match world.next_due_before(until) {
                None => return,
                Some(Due::Act(action)) => action(&mut world),
                Some(Due::Resume(actor, token)) => {
                    if !world.may_resume(actor, token) {
                        continue;
                    }
                    world.current = Some(actor);
                    drop(world);
                    self.resume(actor);
                    self.sim.lock().current = None;
                }
            }
        }
    }

    fn resume(&mut self, actor: ActorId) {
        let Some(coroutine) = self.coroutines.get_mut(&actor) else { return };
        coroutine.resume();
        if coroutine.is_done() {
            self.coroutines.remove(&actor);
            self.sim.lock().actors.remove(&actor);
        }
    }

    /// Ends what was killed and starts what was begun.
    fn bury_and_bear(&mut self) {
        loop {
            let (deaths, births) = {
                let mut world = self.sim.lock();
                (std::mem::take(&mut world.deaths), std::mem::take(&mut world.births))
            };
            if deaths.is_empty() && births.is_empty() {
                return;
            }
            for life in deaths {
                let dead: Vec<ActorId> = {
                    let mut world = self.sim.lock();
                    let dead = world.actors.iter().filter(|(_, actor)| actor.life == life);
                    let dead = dead.map(|(id, _)| *id).collect();
                    world.actors.retain(|_, actor| actor.life != life);
                    dead
                };
                for actor in dead {
                    // Unwinds its stack: what it held is dropped, nothing is finished.
                    self.coroutines.remove(&actor);
                }
            }
            for (life, run) in births {
                self.born += 1;
                let id = ActorId(self.born);
                let mut coroutine = Gn::<()>::new_opt(STACK_WORDS, run);
                // Tells the coroutine apart from plain generators; nobody reads what it points at.
                coroutine.set_local_data(NonNull::dangling().as_ptr());
                self.coroutines.insert(id, coroutine);
                let mut world = self.sim.lock();
                world.actors.insert(id, Actor { life, token: 0 });
                world.wake(id);
            }
        }
    }
}
