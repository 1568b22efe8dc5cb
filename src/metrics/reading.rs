//! [`Reading`]: the metrics of one moment as numbers, for those who show them by themselves.

use std::collections::BTreeMap;

use prometheus::proto::{Metric, MetricFamily, MetricType};

use crate::status::Distribution;

/// All series of one moment. Families are named without the prefix `tidemill_`.
pub struct Reading(Vec<MetricFamily>);

impl Reading {
    pub(super) fn new(families: Vec<MetricFamily>) -> Self {
        Self(families)
    }

    /// The values of a counter or gauge by a label, summed over its other labels. Empty when there
    /// is no such family yet.
    #[must_use]
    pub fn sums(&self, family: &str, label: &str) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for metric in self.series(family) {
            let value = match self.kind(family) {
                Some(MetricType::COUNTER) => metric.get_counter().get_value(),
                _ => metric.get_gauge().get_value(),
            };
            if let Some(name) = label_of(metric, label) {
                // Counts of records: whole numbers that are never negative.
                *sums.entry(name.to_owned()).or_default() += value as u64;
            }
        }
        sums
    }

    /// A histogram, summed over all labels; of those series alone that have a certain label, where
    /// one is given. Empty when there is no such family yet.
    #[must_use]
    pub fn distribution(&self, family: &str, only: Option<(&str, &str)>) -> Distribution {
        let mut sum = Distribution::default();
        let wanted = |metric: &&Metric| {
            only.is_none_or(|(label, value)| label_of(metric, label) == Some(value))
        };
        for metric in self.series(family).filter(wanted) {
            let histogram = metric.get_histogram();
            let buckets = histogram.get_bucket();
            let bounds = buckets.iter().map(prometheus::proto::Bucket::upper_bound).collect();
            let counts = buckets.iter().map(prometheus::proto::Bucket::cumulative_count).collect();
            sum.add(&Distribution { bounds, counts, total: histogram.get_sample_count() });
        }
        sum
    }

    fn family(&self, name: &str) -> Option<&MetricFamily> {
        self.0.iter().find(|family| family.name().strip_prefix("tidemill_") == Some(name))
    }

    fn kind(&self, name: &str) -> Option<MetricType> {
        self.family(name).map(MetricFamily::get_field_type)
    }

    fn series(&self, name: &str) -> impl Iterator<Item = &Metric> {
        self.family(name).into_iter().flat_map(MetricFamily::get_metric)
    }
}

fn label_of<'m>(metric: &'m Metric, name: &str) -> Option<&'m str> {
    metric
        .get_label()
        .iter()
        .find(|label| label.name() == name)
        .map(prometheus::proto::LabelPair::value)
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;

    #[test]
    fn a_counter_is_summed_over_the_labels_that_nobody_asked_for() {
        let metrics = Metrics::new("app", "one").unwrap();
        for (topic, reason, records) in [("a", "late", 2), ("b", "late", 3), ("a", "poison", 4)] {
            metrics.client().dead_letter(topic, reason, records);
        }
        let sums = metrics.read().sums("dead_letter_records_total", "reason");
        assert_eq!(sums, [("late".to_owned(), 5), ("poison".to_owned(), 4)].into());
        assert!(metrics.read().sums("no_such_total", "reason").is_empty());
    }

    #[test]
    fn a_histogram_is_summed_over_its_series() {
        let metrics = Metrics::new("app", "one").unwrap();
        let threads = ["stream-1", "stream-2"].map(|name| metrics.thread(name));
        for (thread, seconds) in [(0, 0.004), (0, 0.004), (1, 0.4)] {
            threads[thread].commit_seconds(seconds);
        }
        let all = metrics.read().distribution("commit_seconds", None);
        assert_eq!(all.total, 3);
        assert!(all.quantile(0.5).unwrap() < 0.01);
        assert!(all.quantile(0.99).unwrap() > 0.1);
        let one = metrics.read().distribution("commit_seconds", Some(("thread", "stream-2")));
        assert_eq!(one.total, 1);
    }
}
