//! The client library: the traits of the border to Kafka, over the simulated brokers.
//!
//! It behaves as librdkafka does: what goes on in its background (heartbeats, joining, fetching,
//! sending) goes on in the world while the thread that uses it does something else, and a call that
//! waits suspends its thread.

pub mod admin;
pub mod call;
pub mod consumer;
pub mod fetch;
pub mod member;
pub mod producer;
pub mod send;

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill::clock::Clock;
use tidemill::kafka::{
    Cluster, ConsumerRole, ConsumerSettings, Isolation, KafkaError, ProducerSettings,
};
use tidemill::mistake::Mistake;

use crate::world::{Life, Micros, ProcessId, Sim, World};
use admin::SimAdmin;
use consumer::SimConsumer;
use fetch::Reader;
use member::Membership;
use producer::SimProducer;
use send::Sender;

/// A consumer of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConsumerId(pub u64);

/// A producer of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProducerId(pub u64);

/// Settings of the clients, in virtual time.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// `session.timeout.ms`.
    pub session: Micros,
    /// `heartbeat.interval.ms`.
    pub heartbeat: Micros,
    /// `max.poll.interval.ms`.
    pub max_poll: Micros,
    /// `transaction.timeout.ms`.
    pub transaction: Micros,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            session: 6_000_000,
            heartbeat: 1_500_000,
            max_poll: 30_000_000,
            transaction: 10_000_000,
        }
    }
}

/// What the clients of all processes know.
#[derive(Debug, Default)]
pub struct Clients {
    pub(crate) readers: BTreeMap<ConsumerId, Reader>,
    pub(crate) members: BTreeMap<ConsumerId, Membership>,
    pub(crate) senders: BTreeMap<ProducerId, Sender>,
    opened: u64,
    pub(crate) timing: Timing,
}

impl Clients {
    fn next(&mut self) -> u64 {
        self.opened += 1;
        self.opened
    }
}

/// The simulated cluster, as a process sees it.
#[derive(Clone, Debug)]
pub struct SimCluster {
    sim: Sim,
}

impl SimCluster {
    pub(crate) fn new(sim: &Sim) -> Self {
        Self { sim: sim.clone() }
    }
}

/// The life that opens a client; outside of all processes it is one that never ends.
fn opener(world: &World) -> Life {
    world.current_life().unwrap_or(Life { process: ProcessId(usize::MAX), number: 0 })
}

impl Cluster for SimCluster {
    type Consumer = SimConsumer;
    type Producer = SimProducer;
    type Admin = SimAdmin;

    fn consumer(&self, settings: &ConsumerSettings) -> Result<SimConsumer, KafkaError> {
        let mut world = self.sim.lock();
        let id = ConsumerId(world.clients.next());
        let life = opener(&world);
        let committed = settings.isolation == Isolation::ReadCommitted;
        if let ConsumerRole::Member { group_instance_id } = &settings.role {
            let instance =
                group_instance_id.clone().unwrap_or_else(|| Arc::clone(&settings.client_id));
            let now = world.now;
            let membership = Membership::new(life, &settings.group_id, instance, now);
            world.clients.members.insert(id, membership);
        }
        let is_member = matches!(settings.role, ConsumerRole::Member { .. });
        world.clients.readers.insert(id, Reader::new(life, committed, is_member));
        Ok(SimConsumer::new(&self.sim, id, &settings.group_id))
    }

    fn producer(&self, settings: &ProducerSettings) -> Result<SimProducer, KafkaError> {
        let mut world = self.sim.lock();
        let id = ProducerId(world.clients.next());
        let life = opener(&world);
        let sender = Sender::new(life, settings.transactional_id.clone());
        world.clients.senders.insert(id, sender);
        Ok(SimProducer::new(&self.sim, id))
    }

    fn admin(&self) -> Result<SimAdmin, KafkaError> {
        Ok(SimAdmin::new(&self.sim))
    }

    fn clock(&self) -> Clock {
        Clock::Simulated(Arc::new(self.sim.clone()))
    }

    fn mistake(&self) -> Mistake {
        self.sim.lock().mistake
    }
}
