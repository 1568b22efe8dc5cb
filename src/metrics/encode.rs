//! Gathered families as text: Prometheus' format 0.0.4 and OpenMetrics 1.0.

use std::fmt::{self, Write};

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

use super::registry::MetricsError;

/// A way to write metrics down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// What an HTTP `Accept` header prefers; the text format unless it names OpenMetrics with
    /// at least the weight of plain text.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        let weight = |kind: &str| {
            accept
                .split(',')
                .filter_map(|range| {
                    let mut parts = range.split(';').map(str::trim);
                    let named = parts.next()?.eq_ignore_ascii_case(kind);
                    let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok());
                    named.then(|| weight.unwrap_or(1.0_f64))
                })
                .fold(0.0, f64::max)
        };
        let open = weight("application/openmetrics-text");
        if open > 0.0 && open >= weight("text/plain") { Self::OpenMetrics } else { Self::Text }
    }

    /// The `Content-Type` that goes with it.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

pub(super) fn encode(families: &[MetricFamily], format: Format) -> Result<String, MetricsError> {
    let mut text = String::with_capacity(512 << 10);
    match format {
        Format::Text => {
            let mut bytes = Vec::with_capacity(512 << 10);
            TextEncoder::new().encode(families, &mut bytes).map_err(MetricsError::Encode)?;
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
        Format::OpenMetrics => {
            // Writing to a String cannot fail.
            let _ = open_metrics(families, &mut text);
        }
    }
    Ok(text)
}

/// OpenMetrics differs from the text format in that a counter family has no `_total` in its
/// name while its samples have, numbers of buckets are always floats, and an end mark is due.
fn open_metrics(families: &[MetricFamily], out: &mut String) -> fmt::Result {
    for family in families {
        let (kind, name) = match family.get_field_type() {
            MetricType::COUNTER => {
                ("counter", family.name().strip_suffix("_total").unwrap_or(family.name()))
            }
            MetricType::GAUGE => ("gauge", family.name()),
            MetricType::HISTOGRAM => ("histogram", family.name()),
            _ => ("unknown", family.name()),
        };
        writeln!(out, "# TYPE {name} {kind}")?;
        write!(out, "# HELP {name} ")?;
        push_escaped(family.help(), out);
        out.push('\n');
        for metric in family.get_metric() {
            samples(name, family.get_field_type(), metric, out)?;
        }
    }
    out.push_str("# EOF\n");
    Ok(())
}

fn samples(name: &str, kind: MetricType, metric: &Metric, out: &mut String) -> fmt::Result {
    let labels = metric.get_label();
    match kind {
        MetricType::COUNTER => {
            sample(out, name, "_total", labels, None, metric.get_counter().get_value())
        }
        MetricType::GAUGE => sample(out, name, "", labels, None, metric.get_gauge().get_value()),
        MetricType::HISTOGRAM => {
            let histogram = metric.get_histogram();
            let count = histogram.get_sample_count() as f64;
            for bucket in histogram.get_bucket() {
                let below = bucket.cumulative_count() as f64;
                sample(out, name, "_bucket", labels, Some(bucket.upper_bound()), below)?;
            }
            sample(out, name, "_bucket", labels, Some(f64::INFINITY), count)?;
            sample(out, name, "_count", labels, None, count)?;
            sample(out, name, "_sum", labels, None, histogram.get_sample_sum())
        }
        _ => Ok(()),
    }
}

fn sample(
    out: &mut String,
    name: &str,
    suffix: &str,
    labels: &[LabelPair],
    bound: Option<f64>,
    value: f64,
) -> fmt::Result {
    out.push_str(name);
    out.push_str(suffix);
    let mut separator = '{';
    for label in labels {
        out.push(separator);
        out.push_str(label.name());
        out.push_str("=\"");
        push_escaped(label.value(), out);
        out.push('"');
        separator = ',';
    }
    if let Some(bound) = bound {
        if bound.is_infinite() {
            write!(out, "{separator}le=\"+Inf\"")?;
        } else {
            // Never in powers of ten, so that both formats name a bucket alike.
            let point = if bound.fract() == 0.0 { ".0" } else { "" };
            write!(out, "{separator}le=\"{bound}{point}\"")?;
        }
        separator = ',';
    }
    if separator == ',' {
        out.push('}');
    }
    // Most values are whole numbers, and those are written in half the time.
    if value.fract() == 0.0 && value.abs() < 1e15 {
        writeln!(out, " {}", value as i64)
    } else {
        writeln!(out, " {value}")
    }
}

/// Text with backslash, quote and line break escaped.
fn push_escaped(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '"', '\n']) {
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        out.push('\\');
        out.push(if special.starts_with('\n') { 'n' } else { char::from(special.as_bytes()[0]) });
        rest = &special[1..];
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

    #[test]
    fn open_metrics_has_suffixes_float_bounds_escapes_and_an_end() {
        let registry = Registry::new();
        let counter = IntCounterVec::new(Opts::new("x_total", "Xs."), &["a"]).unwrap();
        counter.with_label_values(&["q\"\\\n"]).inc_by(3);
        let options = HistogramOpts::new("y_seconds", "Ys.").buckets(vec![0.5, 1.0]);
        let histogram = HistogramVec::new(options, &[]).unwrap();
        let none: [&str; 0] = [];
        histogram.with_label_values(&none).observe(0.75);
        registry.register(Box::new(counter)).unwrap();
        registry.register(Box::new(histogram)).unwrap();
        let text = encode(&registry.gather(), Format::OpenMetrics).unwrap();
        let expected = "# TYPE x counter\n# HELP x Xs.\nx_total{a=\"q\\\"\\\\\\n\"} 3\n\
            # TYPE y_seconds histogram\n# HELP y_seconds Ys.\n\
            y_seconds_bucket{le=\"0.5\"} 0\ny_seconds_bucket{le=\"1.0\"} 1\n\
            y_seconds_bucket{le=\"+Inf\"} 1\ny_seconds_count 1\ny_seconds_sum 0.75\n# EOF\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_accept_header_decides_by_weight() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3,*/*;q=0.1";
        assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
        assert_eq!(
            Format::accepted("text/plain, application/openmetrics-text;q=0.2"),
            Format::Text
        );
        assert_eq!(Format::accepted("*/*"), Format::Text);
        assert_eq!(Format::accepted(""), Format::Text);
    }
}
