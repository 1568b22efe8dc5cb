//! The copies that an instance keeps of other instances' tasks.

use super::family::{About, Gauge, Registrar, clamp};
use super::registry::GaugeFamily;

/// The families of all copies.
pub(super) struct StandbyFamilies {
    lag: GaugeFamily,
}

impl StandbyFamilies {
    pub(super) fn new(registrar: &Registrar<'_>) -> prometheus::Result<Self> {
        registrar.level(
            "Standby task",
            "A copy of the state of a task that another instance runs; what it reads is counted \
             with what is restored.",
        );
        Ok(Self {
            lag: registrar.gauges(About {
                name: "standby_lag_records",
                help: "Records of a task's changelogs that its copy here has yet to read.",
                labels: &["task"],
                streams: "restore-remaining-records-total update-rate update-total",
            })?,
        })
    }

    pub(super) fn bundle(&self, task: &str) -> StandbyMetrics {
        StandbyMetrics { lag: self.lag.series(&[task]) }
    }
}

/// Metrics of a copy.
pub struct StandbyMetrics {
    lag: Gauge,
}

impl StandbyMetrics {
    /// Records that it has yet to read.
    pub fn set_lag(&self, records: u64) {
        self.lag.set(clamp(records));
    }
}
