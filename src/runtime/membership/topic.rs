//! The members topic: one partition, compacted, a record an instance.
//!
//! An instance writes its record when it has news, and every few seconds as a sign of life; a
//! tombstone says that it left. Everybody reads all of it from the start. One partition gives all
//! records one order, the same for every reader.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill_topology::graph::InternalTopicKind;
use tidemill_topology::record::Headers;
use tidemill_topology::time::Timestamp;

use super::Membership;
use super::record::MemberRecord;
use super::view::{DEAD_AFTER, MembersView};
use crate::clock::Clock;
use crate::kafka::{
    Cluster, Consumer, ConsumerRole, ConsumerSettings, ErrorClass, Event, Isolation, KafkaError,
    Message, Offset, OffsetSpec, Outgoing, ProduceError, Producer, ProducerSettings, Received,
    StartAt, TopicId, TopicPartition,
};
use crate::runtime::error::RuntimeError;
use crate::runtime::internal_topics;
use crate::runtime::observe::Shared;
use crate::runtime::plan::WantedTopic;

/// How often an instance says that it lives.
pub const HEARTBEAT: Duration = Duration::from_secs(3);
/// How long one call may wait for the cluster.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long saying good-bye may take: who does not hear of it finds out by itself.
const GOODBYE: Duration = Duration::from_secs(2);
/// How long a cluster that did not answer is left alone.
const RETRY: Duration = Duration::from_secs(1);
/// Records taken at once.
const BATCH: usize = 1_000;

/// Where a members topic is, and who uses it.
#[derive(Clone, Debug)]
pub struct MembersSettings {
    /// The application.
    pub application_id: Arc<str>,
    /// This instance.
    pub instance: Arc<str>,
    /// Replicas to create the topic with; `None` is the broker's default.
    pub replication: Option<i32>,
}

impl MembersSettings {
    /// The topic's name.
    #[must_use]
    pub fn topic(&self) -> String {
        format!("{}-members", self.application_id)
    }
}

/// See the [module](self).
pub struct MembersTopic<C: Cluster> {
    cluster: C,
    clock: Clock,
    settings: MembersSettings,
    shared: Arc<Shared>,
    link: Link<C>,
    /// What was last said, and when.
    said: Option<(MemberRecord, Instant)>,
}

/// The clients, once the topic is there.
enum Link<C: Cluster> {
    /// To be opened, not before this.
    Due(Instant),
    Open(Box<Open<C>>),
    /// The cluster has no such topic and makes none: the instance knows of itself alone.
    Refused,
}

struct Open<C: Cluster> {
    clock: Clock,
    consumer: C::Consumer,
    producer: C::Producer,
    topic: TopicId,
    partition: TopicPartition,
    /// Where the topic ended when it was opened: what lies before may be long past.
    past: Offset,
    records: Vec<Received<<C::Consumer as Consumer>::Message>>,
    events: Vec<Event>,
}

impl<C: Cluster> MembersTopic<C> {
    /// Of an instance; nothing is opened before the first turn.
    #[must_use]
    pub fn new(cluster: C, settings: MembersSettings, shared: Arc<Shared>) -> Self {
        let clock = cluster.clock();
        let link = Link::Due(clock.now());
        Self { cluster, clock, settings, shared, link, said: None }
    }

    fn open(&self) -> Result<Open<C>, RuntimeError> {
        let MembersSettings { application_id, instance, replication } = &self.settings;
        let name = self.settings.topic();
        let wanted = WantedTopic {
            topic: name.clone(),
            partitions: 1,
            kind: InternalTopicKind::Changelog,
            config: BTreeMap::from(
                [
                    ("cleanup.policy", "compact"),
                    // Signs of life pile up: small segments are compacted soon.
                    ("segment.ms", "600000"),
                    ("min.cleanable.dirty.ratio", "0.1"),
                ]
                .map(|(key, value)| (key.to_owned(), value.to_owned())),
            ),
        };
        internal_topics::ensure_one(&self.cluster.admin()?, &self.clock, wanted, *replication)?;
        let client_id: Arc<str> = format!("{application_id}-{instance}-members").into();
        let mut consumer = self.cluster.consumer(&ConsumerSettings {
            group_id: format!("{application_id}-members").into(),
            client_id: client_id.clone(),
            role: ConsumerRole::Assigned,
            isolation: Isolation::ReadUncommitted,
        })?;
        let mut producer = self.cluster.producer(&ProducerSettings {
            client_id,
            transactional_id: None,
            track_offsets: false,
        })?;
        let partition = TopicPartition::new(name.as_str(), 0);
        let offset = |spec| -> Result<Offset, KafkaError> {
            let partitions = std::slice::from_ref(&partition);
            let isolation = Isolation::ReadUncommitted;
            let found = consumer.list_offsets(partitions, spec, isolation, TIMEOUT)?;
            Ok(found.first().and_then(|end| end.offset).unwrap_or_default())
        };
        let (first, past) = (offset(OffsetSpec::Earliest)?, offset(OffsetSpec::Latest)?);
        consumer.assign(&[StartAt::offset(partition.clone(), first)])?;
        let topic = producer.topic(&name)?;
        let (records, events) = (Vec::new(), Vec::new());
        let clock = self.clock.clone();
        Ok(Open { clock, consumer, producer, topic, partition, past, records, events })
    }

    fn open_if_due(&mut self) -> Result<(), RuntimeError> {
        if !matches!(self.link, Link::Due(due) if due <= self.clock.now()) {
            return Ok(());
        }
        self.link = match self.open() {
            Ok(open) => Link::Open(Box::new(open)),
            Err(RuntimeError::Kafka(error)) if may_do_without(&error) => {
                let topic = self.settings.topic();
                tracing::warn!(topic, %error, "instances cannot know of each other: no members topic");
                Link::Refused
            }
            Err(RuntimeError::Kafka(error)) if may_pass(&error) => {
                tracing::warn!(%error, "the members topic cannot be reached; trying on");
                Link::Due(self.clock.now() + RETRY)
            }
            Err(error) => return Err(error),
        };
        Ok(())
    }

    fn say(&mut self, own: &MemberRecord) -> Result<(), RuntimeError> {
        let now = self.clock.now();
        let is_due = self.said.as_ref().is_none_or(|(said, at)| {
            own.is_news_after(said) || now.saturating_duration_since(*at) >= HEARTBEAT
        });
        if !is_due {
            return Ok(());
        }
        let mut own = own.clone();
        own.heartbeat_ms = self.clock.wall().millis();
        let sent = match &mut self.link {
            Link::Open(open) => open.send(&own.instance, Some(&own.to_json()))?,
            Link::Due(_) | Link::Refused => true,
        };
        if sent {
            self.shared.members.heard(own.clone(), now);
            self.said = Some((own, now));
        }
        Ok(())
    }
}

impl<C: Cluster> Membership for MembersTopic<C> {
    fn turn(&mut self, own: &MemberRecord, wait: Duration) -> Result<(), RuntimeError> {
        self.open_if_due()?;
        self.say(own)?;
        match &mut self.link {
            Link::Open(open) => {
                open.hear(own, &self.shared.members, wait)?;
                if open.is_caught_up() {
                    self.shared.members.complete();
                    for dead in self.shared.members.forget_dead(self.clock.now()) {
                        // Several instances may do so: a tombstone more changes nothing.
                        open.send(&dead, None)?;
                    }
                }
            }
            Link::Due(_) => self.clock.sleep(wait),
            Link::Refused => {
                self.shared.members.complete();
                self.clock.sleep(wait);
            }
        }
        Ok(())
    }

    fn leave(&mut self) {
        let Link::Open(open) = &mut self.link else { return };
        let told = open.send(&self.settings.instance, None);
        let flushed = open.producer.flush(GOODBYE);
        if told.is_err() || flushed.is_err() {
            tracing::debug!("could not say good-bye; the others will notice");
        }
    }
}

impl<C: Cluster> Open<C> {
    /// Whether all that was there when it was opened has been read.
    fn is_caught_up(&self) -> bool {
        self.past == Offset::ZERO
            || self.consumer.position(&self.partition).is_some_and(|at| at >= self.past)
    }

    /// Sends a record, or the tombstone of an instance; false when there is no room at present.
    fn send(&mut self, instance: &str, value: Option<&[u8]>) -> Result<bool, RuntimeError> {
        let record = Outgoing {
            topic: self.topic,
            partition: Some(0),
            key: Some(instance.as_bytes()),
            value,
            timestamp: self.clock.wall(),
            headers: Headers::none(),
        };
        match self.producer.produce(&record) {
            Ok(()) => Ok(true),
            Err(ProduceError::QueueFull) => Ok(false),
            Err(ProduceError::Refused(error)) => Err(error.into()),
        }
    }

    /// Takes in what others said.
    ///
    /// # Errors
    /// When a process of the same name has taken this one's place.
    fn hear(
        &mut self,
        own: &MemberRecord,
        view: &MembersView,
        wait: Duration,
    ) -> Result<(), RuntimeError> {
        self.consumer.poll(BATCH, wait, &mut self.records, &mut self.events);
        for event in self.events.drain(..) {
            if let Event::Error { error, .. } | Event::AllBrokersDown(error) = event {
                tracing::debug!(%error, "members topic");
            }
        }
        self.producer.poll(Duration::ZERO);
        if let Some((_, error)) = self.producer.deliveries().take_error() {
            tracing::debug!(%error, "a sign of life was not delivered; the next one follows");
        }
        let (now, now_ms) = (self.clock.now(), self.clock.wall());
        for Received { message, .. } in self.records.drain(..) {
            let is_past = message.offset() < self.past;
            let instance = String::from_utf8_lossy(message.key().unwrap_or_default());
            if instance != own.instance {
                take(&message, instance.into_owned(), is_past, view, now, now_ms);
            } else if !is_past {
                successor(&message, own).map_or(Ok(()), Err)?;
            }
        }
        Ok(())
    }
}

/// Why this instance is to stop, if what was said under its name is of a process that started later: of
/// two that run, that one stays, and both can tell which it is.
fn successor<M: Message>(message: &M, own: &MemberRecord) -> Option<RuntimeError> {
    let said = MemberRecord::from_json(message.value()?).ok()?;
    let later = said.started_at_ms.saturating_sub(own.started_at_ms);
    let later = u64::try_from(later).ok().filter(|later| *later > 0).map(Duration::from_millis)?;
    Some(RuntimeError::Replaced { instance: said.instance, host: said.host, later })
}

/// Takes another instance's record into the view.
fn take<M: Message>(
    message: &M,
    instance: String,
    is_past: bool,
    view: &MembersView,
    now: Instant,
    now_ms: Timestamp,
) {
    let Some(value) = message.value() else { return view.left(&instance) };
    match MemberRecord::from_json(value) {
        Ok(record) => {
            // Only of what was written before this instance began to listen one must ask the
            // record itself how old it is.
            let age = if is_past { now_ms.millis() - message.timestamp().millis() } else { 0 };
            let age = Duration::from_millis(u64::try_from(age).unwrap_or(0));
            // A clock that has not run that long cannot tell it apart from a dead one.
            let heard = now.checked_sub(age).or(now.checked_sub(DEAD_AFTER)).unwrap_or(now);
            view.heard(record, heard);
        }
        Err(error) => tracing::debug!(instance, %error, "a record of another form was passed over"),
    }
}

/// Whether the topic may be reached later. One that another instance has just made is unknown to
/// some brokers for a moment; and what nobody has thought of is no reason to end an instance, which
/// can process records without the topic.
fn may_pass(error: &KafkaError) -> bool {
    !matches!(error.class(), ErrorClass::Configuration | ErrorClass::Fenced | ErrorClass::Fatal)
}

/// Whether an instance runs without the topic where the cluster answers so.
fn may_do_without(error: &KafkaError) -> bool {
    matches!(error.class(), ErrorClass::Unsupported | ErrorClass::Authorization)
}
