//! Gathered families as text: Prometheus' format 0.0.4 and OpenMetrics 1.0.

use std::fmt::{self, Write};

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

/// Room that the metrics of most instances find.
const BYTES: usize = 512 << 10;

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

pub(super) fn encode(families: &[MetricFamily], format: Format) -> String {
    let mut text = String::with_capacity(BYTES);
    // Writing to a String cannot fail.
    let _ = write_families(families, format, &mut text);
    text
}

/// OpenMetrics differs from the text format in that a counter family has no `_total` in its
/// name while its samples have, numbers of buckets are always floats, quotes are escaped in the
/// help too, and an end mark is due.
fn write_families(families: &[MetricFamily], format: Format, out: &mut String) -> fmt::Result {
    for family in families {
        let kind = match family.get_field_type() {
            MetricType::COUNTER => "counter",
            MetricType::GAUGE => "gauge",
            MetricType::HISTOGRAM => "histogram",
            _ => match format {
                Format::Text => "untyped",
                Format::OpenMetrics => "unknown",
            },
        };
        let (name, suffix) = match (format, family.name().strip_suffix("_total")) {
            (Format::OpenMetrics, Some(name)) if kind == "counter" => (name, "_total"),
            _ => (family.name(), ""),
        };
        writeln!(out, "# TYPE {name} {kind}")?;
        write!(out, "# HELP {name} ")?;
        let quoted: &[char] = match format {
            Format::Text => &['\\', '\n'],
            Format::OpenMetrics => &QUOTED,
        };
        push_escaped(family.help(), quoted, out);
        out.push('\n');
        let mut samples = Samples { format, name, out: &mut *out };
        for metric in family.get_metric() {
            samples.write(family.get_field_type(), suffix, metric)?;
        }
    }
    if format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
    Ok(())
}

/// Writes the samples of a family.
struct Samples<'o> {
    format: Format,
    name: &'o str,
    out: &'o mut String,
}

impl Samples<'_> {
    fn write(&mut self, kind: MetricType, suffix: &str, metric: &Metric) -> fmt::Result {
        let labels = metric.get_label();
        match kind {
            MetricType::COUNTER => {
                self.sample(suffix, labels, None, metric.get_counter().get_value())
            }
            MetricType::GAUGE => self.sample(suffix, labels, None, metric.get_gauge().get_value()),
            MetricType::HISTOGRAM => {
                let histogram = metric.get_histogram();
                let count = histogram.get_sample_count() as f64;
                for bucket in histogram.get_bucket() {
                    let below = bucket.cumulative_count() as f64;
                    self.sample("_bucket", labels, Some(bucket.upper_bound()), below)?;
                }
                self.sample("_bucket", labels, Some(f64::INFINITY), count)?;
                self.sample("_count", labels, None, count)?;
                self.sample("_sum", labels, None, histogram.get_sample_sum())
            }
            _ => Ok(()),
        }
    }

    fn sample(
        &mut self,
        suffix: &str,
        labels: &[LabelPair],
        bound: Option<f64>,
        value: f64,
    ) -> fmt::Result {
        let out = &mut *self.out;
        out.push_str(self.name);
        out.push_str(suffix);
        let mut separator = '{';
        for label in labels {
            out.push(separator);
            out.push_str(label.name());
            out.push_str("=\"");
            push_escaped(label.value(), &QUOTED, out);
            out.push('"');
            separator = ',';
        }
        if let Some(bound) = bound {
            if bound.is_infinite() {
                write!(out, "{separator}le=\"+Inf\"")?;
            } else {
                // Never in powers of ten, so that both formats name a bucket alike.
                let is_whole = self.format == Format::OpenMetrics && bound.fract() == 0.0;
                let point = if is_whole { ".0" } else { "" };
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
}

/// What a label's value escapes.
const QUOTED: [char; 3] = ['\\', '"', '\n'];

/// Text in which these characters are escaped.
fn push_escaped(text: &str, escaped: &[char], out: &mut String) {
    let mut rest = text;
    while let Some(at) = rest.find(escaped) {
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

    /// A counter whose label needs escapes, and a histogram.
    fn families() -> Vec<MetricFamily> {
        let registry = Registry::new();
        let counter = IntCounterVec::new(Opts::new("x_total", "\"Xs\"\n."), &["a"]).unwrap();
        counter.with_label_values(&["q\"\\\n"]).inc_by(3);
        let options = HistogramOpts::new("y_seconds", "Ys.").buckets(vec![0.5, 1.0]);
        let histogram = HistogramVec::new(options, &[]).unwrap();
        let none: [&str; 0] = [];
        histogram.with_label_values(&none).observe(0.75);
        registry.register(Box::new(counter)).unwrap();
        registry.register(Box::new(histogram)).unwrap();
        registry.gather()
    }

    #[test]
    fn open_metrics_has_suffixes_float_bounds_escapes_and_an_end() {
        let expected = "# TYPE x counter\n# HELP x \\\"Xs\\\"\\n.\nx_total{a=\"q\\\"\\\\\\n\"} 3\n\
            # TYPE y_seconds histogram\n# HELP y_seconds Ys.\n\
            y_seconds_bucket{le=\"0.5\"} 0\ny_seconds_bucket{le=\"1.0\"} 1\n\
            y_seconds_bucket{le=\"+Inf\"} 1\ny_seconds_count 1\ny_seconds_sum 0.75\n# EOF\n";
        assert_eq!(encode(&families(), Format::OpenMetrics), expected);
    }

    #[test]
    fn text_names_counters_whole_and_bounds_as_short_as_they_are() {
        let expected = "# TYPE x_total counter\n# HELP x_total \"Xs\"\\n.\n\
            x_total{a=\"q\\\"\\\\\\n\"} 3\n\
            # TYPE y_seconds histogram\n# HELP y_seconds Ys.\n\
            y_seconds_bucket{le=\"0.5\"} 0\ny_seconds_bucket{le=\"1\"} 1\n\
            y_seconds_bucket{le=\"+Inf\"} 1\ny_seconds_count 1\ny_seconds_sum 0.75\n";
        assert_eq!(encode(&families(), Format::Text), expected);
    }

    /// The crate that counts has an encoder of its own, for the text format alone.
    #[test]
    fn text_says_what_the_encoder_of_the_crate_says() {
        let lines = |text: &str| {
            let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        let theirs = prometheus::TextEncoder::new().encode_to_string(&families()).unwrap();
        assert_eq!(lines(&encode(&families(), Format::Text)), lines(&theirs));
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
