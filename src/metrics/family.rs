//! Series with a lifetime: a labelled series exists as long as somebody holds it.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{
    CounterVec, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry,
};

use super::catalogue::Catalogue;

/// Upper bounds of latency buckets, in seconds: 50 µs to 10 s.
pub(super) const LATENCY_BUCKETS: [f64; 17] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0,
];

/// Upper bounds of the buckets of a record's age, in seconds: 1 ms to 1 h.
pub(super) const AGE_BUCKETS: [f64; 16] = [
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 600.0, 3600.0,
];

/// A counter that lives as long as its bundle.
pub(super) type Counter = Series<IntCounterVec>;
/// A counter of fractions that lives as long as its bundle.
pub(super) type FloatCounter = Series<CounterVec>;
/// A gauge of fractions that lives as long as its bundle.
pub(super) type FloatGauge = Series<GaugeVec>;
/// A gauge that lives as long as its bundle.
pub(super) type Gauge = Series<IntGaugeVec>;
/// A histogram that lives as long as its bundle.
pub(super) type Histogram = Series<HistogramVec>;

/// A vector of series that differ in their label values.
pub trait Vector: Clone {
    /// One series.
    type Metric;
    /// The series of these label values, made when it does not exist.
    fn series(&self, values: &[&str]) -> Self::Metric;
    /// Forgets the series of these label values.
    fn forget(&self, values: &[&str]);
}

impl<B: MetricVecBuilder> Vector for MetricVec<B> {
    type Metric = B::M;

    fn series(&self, values: &[&str]) -> B::M {
        // The number of values is fixed where the bundle is written, and a test makes each.
        self.with_label_values(values)
    }

    fn forget(&self, values: &[&str]) {
        // Only fails when there is no such series, which is what is wanted.
        let _ = self.remove_label_values(values);
    }
}

/// A metric family whose series are counted by their holders.
///
/// Two bundles may name one series, as when a task is opened on one thread while another
/// still closes it; the series goes with the last of them.
#[derive(Clone)]
pub(super) struct Family<V: Vector> {
    vector: V,
    holders: Arc<Mutex<HashMap<Vec<String>, usize>>>,
}

impl<V: Vector> Family<V> {
    fn new(vector: V) -> Self {
        Self { vector, holders: Arc::default() }
    }

    /// The series of these label values, in the order of the family's labels.
    pub(super) fn series(&self, values: &[&str]) -> Series<V> {
        let labels: Vec<String> = values.iter().map(|&value| value.to_owned()).collect();
        let mut holders = lock(&self.holders);
        *holders.entry(labels.clone()).or_insert(0) += 1;
        let metric = self.vector.series(values);
        Series { metric, family: self.clone(), labels }
    }
}

/// One series. It disappears from the exposition when its last holder is dropped.
pub(super) struct Series<V: Vector> {
    metric: V::Metric,
    family: Family<V>,
    labels: Vec<String>,
}

impl<V: Vector> Deref for Series<V> {
    type Target = V::Metric;

    fn deref(&self) -> &V::Metric {
        &self.metric
    }
}

impl<V: Vector> Drop for Series<V> {
    fn drop(&mut self) {
        let mut holders = lock(&self.family.holders);
        if let Some(count) = holders.get_mut(&self.labels) {
            *count -= 1;
            if *count == 0 {
                holders.remove(&self.labels);
                let values: Vec<&str> = self.labels.iter().map(String::as_str).collect();
                self.family.vector.forget(&values);
            }
        }
    }
}

/// The counts stay right even when a holder panicked: each change is a single step.
fn lock(
    holders: &Mutex<HashMap<Vec<String>, usize>>,
) -> MutexGuard<'_, HashMap<Vec<String>, usize>> {
    holders.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Registers families under the prefix `tidemill_`, and writes each into the catalogue.
pub(super) struct Registrar<'a> {
    registry: &'a Registry,
    catalogue: &'a Catalogue,
}

/// What belongs to a family besides its values.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    /// Its name, without the prefix.
    pub(super) name: &'a str,
    /// What it says, in a sentence.
    pub(super) help: &'a str,
    /// The names of its labels.
    pub(super) labels: &'a [&'static str],
    /// What Kafka Streams calls it; empty where it has no such metric.
    pub(super) streams: &'a str,
}

impl<'a> Registrar<'a> {
    pub(super) fn new(registry: &'a Registry, catalogue: &'a Catalogue) -> Self {
        Self { registry, catalogue }
    }

    /// The families that follow belong to this level.
    pub(super) fn level(&self, title: &'static str, about: &'static str) {
        self.catalogue.level(title, about);
    }

    fn register<C: Collector + Clone + 'static>(
        &self,
        metric: C,
        kind: &'static str,
        about: About<'_>,
    ) -> prometheus::Result<C> {
        self.registry.register(Box::new(metric.clone()))?;
        self.catalogue.add(kind, about);
        Ok(metric)
    }

    /// A counter family; its name ends in `_total`.
    pub(super) fn counters(&self, about: About<'_>) -> prometheus::Result<Family<IntCounterVec>> {
        let vector = IntCounterVec::new(about.options(), about.labels)?;
        Ok(Family::new(self.register(vector, "counter", about)?))
    }

    /// A family of counters of fractions, such as seconds; its name ends in `_total`.
    pub(super) fn float_counters(
        &self,
        about: About<'_>,
    ) -> prometheus::Result<Family<CounterVec>> {
        let vector = CounterVec::new(about.options(), about.labels)?;
        Ok(Family::new(self.register(vector, "counter", about)?))
    }

    /// A gauge family.
    pub(super) fn gauges(&self, about: About<'_>) -> prometheus::Result<Family<IntGaugeVec>> {
        let vector = IntGaugeVec::new(about.options(), about.labels)?;
        Ok(Family::new(self.register(vector, "gauge", about)?))
    }

    /// A family of gauges of fractions.
    pub(super) fn float_gauges(&self, about: About<'_>) -> prometheus::Result<Family<GaugeVec>> {
        let vector = GaugeVec::new(about.options(), about.labels)?;
        Ok(Family::new(self.register(vector, "gauge", about)?))
    }

    /// A latency histogram family; its name ends in `_seconds`.
    pub(super) fn histograms(
        &self,
        about: About<'_>,
        buckets: &[f64],
    ) -> prometheus::Result<Family<HistogramVec>> {
        let options = HistogramOpts::from(about.options()).buckets(buckets.to_vec());
        let vector = HistogramVec::new(options, about.labels)?;
        Ok(Family::new(self.register(vector, "histogram", about)?))
    }
}

impl About<'_> {
    fn options(&self) -> Opts {
        Opts::new(format!("{PREFIX}{}", self.name), self.help)
    }
}

/// What every name starts with.
pub(super) const PREFIX: &str = "tidemill_";

/// A count as a gauge's value. What does not fit is shown as the most that does.
pub(super) fn clamp(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_goes_with_its_last_holder_and_not_before() {
        let registry = Registry::new();
        let catalogue = Catalogue::default();
        let about = About { name: "x", help: "X.", labels: &["task"], streams: "" };
        let family = Registrar::new(&registry, &catalogue).gauges(about).unwrap();
        let count = || registry.gather().iter().map(|f| f.get_metric().len()).sum::<usize>();
        let first = family.series(&["0_1"]);
        let second = family.series(&["0_1"]);
        second.set(7);
        drop(first);
        assert_eq!(count(), 1);
        assert_eq!(second.get(), 7);
        drop(second);
        assert_eq!(count(), 0);
    }
}
